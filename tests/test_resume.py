"""A run that was interrupted goes on bit for bit as if it never was; see tests/faults too."""

import random
import shutil
import signal

import command
import pytest


def in_the_middle(workdir, seed: int, low: int = 3, high: int = 25):
    """A seeded random moment: the condition and the delay after it; printed, to be repeated."""
    moment = random.Random(seed)
    target, delay = moment.randint(low, high), moment.uniform(0.0, 0.1)
    print(f"interrupts {delay:.4f} s after step {target} was logged")
    return lambda: any(step >= target for step in command.logged(workdir)), delay


def test_several_steps_a_dispatch_and_streamed_images(tmp_path):
    arguments = (
        *command.LIGHT,
        "--config.steps_per_dispatch=4",
        "--config.log_every=4",
        "--config.checkpoint_every=8",
        "--config.data.in_memory=no",
    )
    for name in ("whole", "interrupted"):
        workdir = tmp_path / name
        if name == "interrupted":
            when, delay = in_the_middle(workdir, seed=1)
            process = command.start(*arguments, f"--workdir={workdir}")
            command.interrupt(process, signal.SIGKILL, when, delay)
            assert command.STEPS not in command.steps_saved(workdir)
        command.train_only(*arguments, workdir=workdir)
    command.assert_same_state(tmp_path / "interrupted", tmp_path / "whole")
    assert command.logged(workdir) == list(range(4, command.STEPS + 1, 4))


def test_a_finished_run_typed_again_changes_only_results(tmp_path):
    workdir = command.copy_of_finished_run(tmp_path)
    before = command.contents(workdir)
    out = command.ok(*command.TINY, f"--workdir={workdir}")
    assert f"step {command.STEPS}" in out and "results.json" in out
    after = command.contents(workdir)
    assert command.results(workdir) == command.results(command.finished_run())
    kept = ("checkpoints", "config.json", "metrics.jsonl", "figures/samples.png")
    for name in before:
        if name.startswith(kept):
            assert after[name] == before[name], name
    assert [n for n in after.keys() - before.keys() if not n.startswith("tensorboard")] == []


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damaged_checkpoint(tmp_path, damage):
    """The one before is taken, the run says so and ends as it did."""
    workdir = command.copy_of_finished_run(tmp_path)
    *_, before, last = command.steps_saved(workdir)
    path = max((workdir / "checkpoints" / str(last)).rglob("d/*"), key=lambda p: p.stat().st_size)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        half = len(data) // 2
        path.write_bytes(
            data[:half]
            if damage == "truncated"
            else data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
        )
    if damage == "truncated":  # through the command line once; the others through what it calls
        more = f"--config.num_steps={command.STEPS + 5}"
        out = command.train_only(*command.TINY, more, workdir=workdir, last=command.STEPS + 5)
        assert f"the checkpoint of step {last}" in out and "is damaged" in out
        assert f"taking the one before, of step {before}" in out
        assert f"going on from step {before} of {command.STEPS + 5}" in out
        assert command.logged(workdir) == list(range(1, command.STEPS + 6))
        again, first = (d / "metrics.jsonl" for d in (workdir, command.finished_run()))
        assert again.read_text().startswith(first.read_text())
        shutil.rmtree(workdir / "checkpoints" / str(command.STEPS + 5))
        command.assert_same_state(workdir, command.finished_run())
    else:
        assert command.last_state(workdir)[0] == before
