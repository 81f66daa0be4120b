"""The same command twice: the same numbers and the same images, bit for bit, on a CPU."""

import json

import command
import numpy as np

# Beside `command.TINY`, a game on stored images: images that are drawn in the step, and attributes.
TINY_IBGAN = (
    "--config=configs/sprites.py:ibgan",
    "--config.ibgan.network.ngf=2",
    "--config.ibgan.network.ndf=2",
    "--config.batch_size=4",
    "--config.num_steps=6",
    "--config.eval_every=3",
    "--config.eval_images=20",
    "--config.disentanglement.metrics=none",
    "--config.disentanglement.quick_votes=0",
)
TINY_MMVAE = (
    "--config=configs/faces.py:mmvae",
    "--config.data.in_memory=auto",
    "--config.mmvae.network.width=0.03",
    "--config.mmvae.statistics.width=8",
    "--config.batch_size=4",
    "--config.num_steps=6",
    "--config.eval_every=3",
    "--config.eval_images=20",
    "--config.attribute_scores.quick_steps=2",
    "--config.attribute_scores.mine_steps=2",
    "--config.attribute_scores.mine_width=8",
    "--config.attribute_scores.estimates=1",
    "--config.attribute_scores.classifier_steps=2",
    "--config.attribute_scores.max_images=40",
    "--config.attribute_scores.leak=none",
)


def images_of(workdir) -> dict[str, bytes]:
    found = {n: data for n, data in command.contents(workdir).items() if n.endswith(".png")}
    assert len(found) >= 3
    return found


def assert_same(one, other) -> int:
    """Metrics, results, images and the last state. Returns the number of images compared."""
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert command.results(one) == command.results(other)
    assert json.loads((one / "data.json").read_text()) == json.loads(
        (other / "data.json").read_text()
    )
    ours, theirs = images_of(one), images_of(other)
    assert ours.keys() == theirs.keys()
    # The curves are text and lines that matplotlib draws; the others are the model's own pixels.
    assert [name for name in ours if ours[name] != theirs[name]] == []
    command.assert_same_state(one, other)
    return len(ours)


def test_the_same_command_twice(tmp_path, figure):
    command.ok(*command.TINY, f"--workdir={tmp_path / 'again'}")
    count = assert_same(command.finished_run(), tmp_path / "again")
    figure("determinism", "images equal bit for bit, infovaegan on digits", count)


def test_samples_are_those_of_the_seed(tmp_path):
    found = []
    for name in ("one", "other"):
        workdir = command.copy_of_finished_run(tmp_path / name)
        command.ok("--mode=sample", "--num_samples=20", f"--workdir={workdir}")
        with np.load(workdir / "samples.npz", allow_pickle=False) as arrays:
            found.append({key: arrays[key] for key in arrays.files})
        found[-1]["picture"] = (workdir / "figures" / "drawn.png").read_bytes()
    assert found[0].keys() == found[1].keys() and len(found[0]) >= 4
    for key, array in found[0].items():
        assert np.array_equal(array, found[1][key]), key


def test_other_methods_twice(tmp_path, amount, figure):
    """Nothing in the short form, which has infovaegan alone."""
    for arguments in amount((), (TINY_IBGAN, TINY_MMVAE)):
        name = arguments[0].rpartition("/")[2].replace(".py:", " ")
        one, other = tmp_path / name / "one", tmp_path / name / "other"
        for workdir in (one, other):
            command.ok(*arguments, f"--workdir={workdir}")
        figure("determinism", f"images equal bit for bit, {name}", assert_same(one, other))
