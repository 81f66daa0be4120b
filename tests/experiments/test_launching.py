"""Runs as jobs: on a SLURM that only writes down what it is asked, and as processes that train."""

import json
import os
import pathlib
import signal
import sys
import threading
import time

import command
import pytest
from fabricated import make_run

from experiments import bench, ibgan_table1, launch_options, launching, options, running
from ivg import stopping
from ivg.errors import UserError

submitit = pytest.importorskip("submitit", reason="needs the extra [cluster]")
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SLURM = ["--launcher=slurm", "--preset=smoke"]


def parse(*arguments):
    return ibgan_table1.parse([*SLURM, "--methods=vae,gan", "--seeds=2", *map(str, arguments)])


# ---- the command line

MISTAKES = [
    ("--launcher=slrm", '--launcher knows no "slrm"; use local or slurm.'),
    ("--launcher=local --partition=gpu", "--partition is for jobs on a cluster; add --launcher"),
    ("--launcher=local --no_wait", "--no_wait is for jobs on a cluster"),
    ("--runs_at_once=3 --runs_per_job=2", "--runs_per_job=2 is less than --runs_at_once=3"),
    ("--gpus_per_job=-1", "--gpus_per_job=-1 must be at least 0"),
    ("--hours_per_job=0", "--hours_per_job=0 must be at least 0.1"),
    ("--jobs_at_once=0", "--jobs_at_once=0 must be at least 1"),
    ("--slurm=exclusive", '--slurm="exclusive" is not KEY=VALUE'),
]


@pytest.mark.parametrize("words, sentence", MISTAKES)
def test_mistakes_are_one_sentence(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x", *SLURM, f"--workdir={tmp_path}", *words.split()])
    with pytest.raises(SystemExit) as stop:
        options.command(bench.main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and sentence in error


def test_any_option_of_sbatch():
    assert launch_options.pairs("mem=32G,exclude=n1,n2,exclusive=true,--gres=gpu:2") == [
        ("mem", "32G"), ("exclude", "n1,n2"), ("exclusive", True), ("gres", "gpu:2")]  # fmt: skip
    args = parse("--slurm=mem=4G", "--slurm=mem=8G,nice=5")
    assert args.slurm == {"mem": "8G", "nice": "5"}


@pytest.mark.parametrize("at_once, per_job, sizes", [
    (1, 1, [1] * 6), (1, 4, [4, 2]), (2, 2, [2, 2, 2]), (2, 5, [5, 1]), (2, 3, [2, 3, 1]),
])  # fmt: skip
def test_runs_of_a_job(at_once, per_job, sizes, tmp_path):
    args = ibgan_table1.parse(["--preset=smoke", "--methods=vae,gan", "--seeds=3"])
    todo = running.unfinished(ibgan_table1.make_tasks(args), tmp_path)
    jobs = launching.packed(running.batches(todo, at_once), per_job)
    assert [len(job) for job in jobs] == sizes
    assert sorted(r.task.name for j in jobs for r in j) == sorted(r.task.name for r in todo)


# ---- what is submitted


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with commands of SLURM's names, first in PATH: `sacct` says what `states` holds."""
    folder = tmp_path / "commands"
    folder.mkdir()
    number = 1_000 + time.monotonic_ns() % 10**9  # submitit remembers states by number
    scripts = {
        "srun": "exit 1",
        "sbatch": f"n=$(ls {folder}/*.job 2>/dev/null | wc -l); n=$(({number} + n)); "
                  f"cp $1 {folder}/$n.job; echo Submitted batch job $n",
        "sacct": f"echo 'JobID|State|NodeList'; cat {folder}/states",
    }  # fmt: skip
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    (folder / "states").write_text("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def submit(*arguments):
    """A script's command with --no_wait."""
    with pytest.raises(SystemExit) as stop:
        ibgan_table1.main([*SLURM, "--methods=vae,gan", "--no_wait", *map(str, arguments)])
    assert stop.value.code == 0


def jobs_of(workdir):
    return json.loads((workdir / "slurm" / "jobs.json").read_text())


def asked(folder):
    """The options of every submission."""
    texts = [path.read_text() for path in sorted(folder.glob("*.job"))]
    return [{line.split()[1] for line in t.splitlines() if line[:7] == "#SBATCH"} for t in texts]


def test_the_parameters_reach_sbatch(tmp_path, slurm):
    workdir = tmp_path / "runs"
    submit("--seeds=2", f"--workdir={workdir}", "--partition=gpu", "--account=lab", "--qos=long",
           "--gpus_per_job=2", "--cpus_per_job=8", "--hours_per_job=3.5", "--jobs_at_once=2",
           "--slurm=mem=32G,constraint=a100,exclusive=true")  # fmt: skip
    (found,) = asked(slurm)
    assert found >= {
        "--array=0-3%2", "--partition=gpu", "--account=lab", "--qos=long", "--gpus-per-node=2",
        "--cpus-per-task=8", "--time=210", "--mem=32G", "--constraint=a100", "--exclusive",
        "--signal=USR2@120", "--job-name=ivg_ibgan_table1",
    }  # fmt: skip
    names = [["sprites_vae_0"], ["sprites_gan_0"], ["sprites_vae_1"], ["sprites_gan_1"]]
    assert sorted(jobs_of(workdir).values()) == sorted(names)


def test_a_group_of_runs_on_cpus(tmp_path, slurm):
    workdir = tmp_path / "runs"
    submit("--seeds=2", f"--workdir={workdir}", "--runs_per_job=4", "--gpus_per_job=0")
    (found,) = asked(slurm)
    assert not any("gpu" in line or "array" in line for line in found)
    ((number, names),) = jobs_of(workdir).items()
    work = submitit.SlurmJob(workdir / "slurm", number).submission().function
    assert [task.name for task in work.tasks] == names and len(names) == 4
    assert work.workdir == workdir and work.checkpoint().function == work


def test_only_what_is_in_no_job_is_submitted_again(tmp_path, slurm, capsys):
    workdir = tmp_path / "runs"
    first = ibgan_table1.make_tasks(parse(f"--workdir={workdir}"))[0]
    make_run(workdir, first, 0.4)  # sprites_vae_0
    submit("--seeds=2", f"--workdir={workdir}")
    before = jobs_of(workdir)
    assert len(before) == 3
    number = {names[0]: number for number, names in before.items()}
    states = dict(zip(number.values(), ("RUNNING", "CANCELLED by 7", "PENDING"), strict=True))
    (slurm / "states").write_text("".join(f"{n}|{state}|n1\n" for n, state in states.items()))
    capsys.readouterr()
    submit("--seeds=2", f"--workdir={workdir}")
    out = capsys.readouterr().out
    assert "1 of 4 runs are finished" in out and "2 are queued or running: 1 PENDING, 1 RUN" in out
    cancelled = next(name for name, n in number.items() if states[n].startswith("CANCELLED"))
    after = jobs_of(workdir)
    (new,) = after.keys() - before.keys()
    assert after[new] == [cancelled] and number[cancelled] not in after and len(after) == 3
    submit("--seeds=2", f"--workdir={workdir}")  # of the new job SLURM has not heard yet
    assert jobs_of(workdir) == after
    assert f"warning: job {new} ({cancelled}) is UNKNOWN" in capsys.readouterr().out


def test_where_there_is_no_slurm_or_it_refuses(tmp_path, slurm, monkeypatch):
    tasks = ibgan_table1.make_tasks(args := parse(f"--workdir={tmp_path / 'runs'}"))
    (slurm / "sbatch").write_text("#!/bin/sh\necho sbatch: error: invalid partition >&2; exit 1\n")
    with pytest.raises(UserError, match=r"refused the jobs \(.*invalid partition"):
        launching.launch(args, tasks)
    (slurm / "srun").unlink()
    with pytest.raises(UserError, match="finds no SLURM here"):
        launching.launch(args, tasks)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[cluster\]'"):
        launching.launch(args, tasks)
    assert not (tmp_path / "runs" / "slurm" / "jobs.json").exists()


# ---- what a job does


@pytest.fixture
def work(tmp_path):
    tasks = ibgan_table1.make_tasks(parse(f"--workdir={tmp_path}"))
    return launching.Work(tuple(tasks), tmp_path, 1)


def test_a_run_that_breaks_does_not_keep_a_job_from_its_others(work, monkeypatch, capsys):
    trained = []

    def train_group(group, workdir):
        trained.append(group[0].task.name)
        if group[0].task.method == "gan":
            raise (UserError if group[0].task.seed else ValueError)("no\nluck")

    monkeypatch.setattr(running, "train_group", train_group)
    sentence = "sprites_gan_0: ValueError: no luck sprites_gan_1: no\nluck"
    with pytest.raises(UserError, match=sentence):
        work()
    assert sorted(trained) == sorted(task.name for task in work.tasks)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("order", [(signal.SIGUSR2,), (signal.SIGTERM, signal.SIGUSR2)])
def test_the_state_is_saved_before_the_job_is_queued_again(work, order, monkeypatch):
    said = []

    def train_group(group, workdir):
        with stopping.catch_signals() as stop:
            for number in order:
                signal.raise_signal(number)
            said.append("saved" if stop else "not told")
            sys.exit(128 + stop.signal)

    def requeue(number, frame):
        said.append("queued again")
        sys.exit(-1)

    monkeypatch.setattr(running, "train_group", train_group)
    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(SystemExit) as leaving:
            work()
        assert signal.getsignal(signal.SIGUSR2) is requeue
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert said == ["saved", "queued again"] and leaving.value.code == -1


def test_outside_of_the_training_a_job_is_queued_again_at_once(work, monkeypatch):
    said = []

    def requeue(number, frame):
        said.append("queued again")
        sys.exit(-1)

    monkeypatch.setattr(
        running, "train_group", lambda *_: (signal.raise_signal(signal.SIGUSR2), said.append("on"))
    )
    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(SystemExit):
            work()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert said == ["queued again"]


def test_a_job_that_is_cancelled_saves_and_is_not_queued_again(work, monkeypatch):
    monkeypatch.setattr(launching, "KILL_WAIT", 0)
    monkeypatch.setattr(running, "train_group", lambda *_: sys.exit(128 + signal.SIGTERM))
    before = signal.signal(signal.SIGUSR2, lambda *_: pytest.fail("queued again"))
    try:
        with pytest.raises(SystemExit) as leaving:
            work()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert leaving.value.code == 143


def test_ctrl_c_leaves_the_jobs_alone(tmp_path, slurm, monkeypatch, capsys):
    def interrupt(seconds):
        raise KeyboardInterrupt

    tasks = ibgan_table1.make_tasks(args := parse(f"--workdir={tmp_path / 'runs'}"))
    monkeypatch.setattr(launching.time, "sleep", interrupt)
    with pytest.raises(SystemExit) as stop:
        launching.launch(args, tasks)
    out = capsys.readouterr().out
    assert stop.value.code == 130 and "the jobs go on" in out
    assert all(f"{number}" in out.split("scancel")[1] for number in jobs_of(tmp_path / "runs"))


def test_jobs_that_end_without_a_word(tmp_path, slurm, capsys):
    tasks = ibgan_table1.make_tasks(args := parse(f"--workdir={tmp_path / 'runs'}"))
    make_run(tmp_path / "runs", tasks[0], 0.4)
    number = str(10**9 + time.monotonic_ns() % 10**9)
    (slurm / "states").write_text(f"{number}_0|OUT_OF_MEMORY|n1\n{number}_1|COMPLETED|n2\n")
    folder = args.workdir / "slurm"
    jobs = [([task.name], submitit.SlurmJob(folder, f"{number}_{i}"))
            for i, task in ((0, tasks[1]), (1, tasks[0]))]  # fmt: skip
    (line,) = launching.wait(jobs, tasks, args.workdir, poll_seconds=0.0)
    words = "ended without a word, state OUT_OF_MEMORY"
    assert line == f"`{tasks[1].name}` broke off: job {number}_0 {words}"
    assert f"(log: {folder.absolute() / number}_0_0_log.out)" in capsys.readouterr().out


# ---- jobs that train


def test_a_job_trains_breaks_off_and_goes_on_after_preemption(tmp_path, monkeypatch, capsys):
    """Three runs: one is finished, one breaks, one is preempted in the middle."""
    for name, value in command.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(REPOSITORY)
    words = ["--data=digits", "--methods=vae", "--num_steps=1000", "--runs=3", "--runs_per_job=2"]
    args = bench.parse([*SLURM, *words, f"--workdir={tmp_path}", "--gpus_per_job=0"])
    quick = {"eval_every": 0, "checkpoint_every": 1_000}
    tasks = [task._replace(config=task.config | quick) for task in bench.make_tasks(args)]
    (tmp_path / tasks[0].name).mkdir()
    (tmp_path / tasks[0].name / "mine.txt").write_text("somebody's")
    make_run(tmp_path, tasks[2], 0.4)
    preempted = threading.Thread(target=preempt, args=(tmp_path, tasks[1].name))
    preempted.start()
    failed = launching.launch(args, tasks, cluster="local", poll_seconds=0.1)
    preempted.join()
    assert [running.finished(run) for run in running.find(tasks, tmp_path)] == [False, True, True]
    assert jobs_of(tmp_path).popitem()[1] == [task.name for task in tasks[:2]]
    log = log_of(tmp_path)
    assert log.count("stopped at step") == log.count("going on from step") == 1
    (line,) = failed
    assert line.startswith("`digits_vae_0` broke off: digits_vae_0: ")
    assert "is not a run directory" in line
    out = capsys.readouterr().out
    assert f"failed: {line} (log: {tmp_path / 'slurm'}" in out
    assert "1 of 3 runs are finished" in out and "submitted 2 runs, jobs: 1;" in out
    assert launching.launch(args, tasks[1:], cluster="local") == []  # submits nothing
    assert "2 of 2 runs are finished" in capsys.readouterr().out


def log_of(workdir):
    """The log of the only job."""
    (path,) = (workdir / "slurm").glob("*_0_log.out")
    return path.read_text()


def preempt(workdir, name):
    """Sends submitit's signal to the job once a step of the run of this name is logged."""
    patience = time.monotonic() + 200
    log = workdir / name / "metrics.jsonl"
    while not (log.exists() and log.stat().st_size):
        if time.monotonic() > patience:
            return
        time.sleep(0.01)
    os.kill(int(log_of(workdir).split("process ")[1].split()[0]), signal.SIGUSR2)
