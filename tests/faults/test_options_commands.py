"""Random command lines: each is accepted, or refused with one sentence; nothing is written."""

import collections
import os
import pathlib
import socket

import asking
import command
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivg import config_files

FILES = {
    "asserts.py": "def get_config():\n    assert False\n",
    "attribute.py": "def get_config():\n    return None.x\n",
    "binary.py": bytes(range(256)) * 8,
    "breaks.py": "def get_config():\n    raise RuntimeError('first\\nsecond')\n",
    "constant.py": "get_config = 3\n",
    "deep.py": "x = " + "(" * 5_000 + ")" * 5_000,
    "divides.py": "def get_config():\n    return 1 / 0\n",
    "empty.py": "",
    "ends.py": "import sys\n\n\ndef get_config():\n    sys.exit(0)\n",
    "gone.py": "def get_config():\n    return open('/nowhere/at/all')\n",
    "holds.py": "from ml_collections import ConfigDict\n\n\n"
    "def get_config():\n    return ConfigDict({'a': object(), 'b': print})\n",
    "imports.py": "import no_such_module\n",
    "key.py": "def get_config():\n    return {}['x']\n",
    "latin.py": "# \u00e9\n".encode("latin-1"),
    "mapping.py": "def get_config():\n    return {'method': 'vae'}\n",
    "more.py": "from ivg.configs import digits\n\n\ndef get_config():\n"
    "    config = digits.get_config()\n    config.learning_rate = 1.0\n    return config\n",
    "nothing.py": "def get_config():\n    return None\n",
    "number.py": "def get_config():\n    return 3\n",
    "option.py": "from ivg.configs import digits\n\n\ndef get_config():\n"
    "    config = digits.get_config('vae')\n    config.vae.network.depth = print\n"
    "    return config\n",
    "own.py": "from ivg.configs import digits\n\n\ndef get_config(method='vae'):\n"
    "    return digits.get_config(method)\n",
    "placeholder.py": "from ml_collections import ConfigDict, config_dict\n\n\n"
    "def get_config():\n    return ConfigDict({'a': config_dict.required_placeholder(int)})\n",
    "recurses.py": "def get_config():\n    return get_config()\n",
    "said.py": "from ivg.errors import UserError\n\n\n"
    "def get_config():\n    raise UserError('in its own words.')\n",
    "syntax.py": "def get_config(:\n",
    "two.py": "def get_config(a, b):\n    return a\n",
    "value.py": "def get_config():\n    raise ValueError('bad')\n",
    "with:colon.py": "x = 1\n",
    "zeros.py": b"\0\0\0",
    "flags": "--config=ivg:digits\n# a remark\n\n--config.seed=3\n",
    "flags_binary": bytes(range(256)),
    "flags_loop": "--flagfile=flags_round\n",
    "flags_nested": "--flagfile=flags\n--nonsense\n",
    "flags_round": "--flagfile=flags_loop\n",
    "flags_zero": "--workdir=a\0b\n--config=ivg:digits\n",
}
# Config files that are accepted.
GOOD = {"own.py"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Files of every kind of nonsense; nothing may change in it."""
    found = tmp_path_factory.mktemp("nonsense")
    for name, content in FILES.items():
        content = content.encode() if isinstance(content, str) else content
        (found / name).write_bytes(content)
    (found / "folder.py").mkdir()
    (found / "ring.py").symlink_to("ring.py")
    os.mkfifo(found / "pipe.py")
    (found / "closed.py").write_text("def get_config():\n    return 1\n")
    (found / "closed.py").chmod(0)
    return found


@pytest.fixture(scope="module")
def ask(folder):
    with asking.asking(folder, "ivg.main") as found:
        yield found


# ---- random words -------------------------------------------------------------------------------

NAMES = ["config", "workdir", "mode", "num_samples", "coordinator", "num_processes", "process_id"]
NAMES += ["heartbeat_seconds", "list", "help", "helpfull", "helpxml", "flagfile", "undefok", "v"]
NAMES += ["verbosity", "log_dir", "logtostderr", "only_check_args", "nolist", "noconfig", "h", "?"]
FIELDS = ["seed", "batch_size", "data", "data.name", "data.name.x", "vae", "vae.beta", "attributes"]
FIELDS += ["vae.optimizer.G.b1", "attributes[0]", "attributes[x]", "", ".", "[", "method", "lock"]
FIELDS += ["to_dict", "__class__", "infovaegan.dim_z", "data.to_dict.x", "vae.optimizer.G[0]"]
NAMES += [f"config.{name}" for name in FIELDS] + ["noconfig.seed"]
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
methods = st.sampled_from(["vae", "infovaegan", "NOPE", "", ":", "vae:ali", "../vae", "ali "])
sources = st.sampled_from([*FILES, "missing.py", "folder.py", "ring.py", "pipe.py", "closed.py"])
sources |= st.sampled_from(["ivg:digits", "ivg:NOPE", "ivg:", "ivg:../main", "..", ".", "/", ":"])
sources |= st.sampled_from(["a" * 5_000, "\udcff", "x\ny.py", "~/own.py", "/dev/null"]) | text
configs = sources | st.builds("{}:{}".format, sources, methods)
values = st.sampled_from(["", "0", "-1", "1", "3", "0.5", "nan", "1e400", "true", "None", "()"])
values |= st.sampled_from(["9" * 5_000, "{}", "{'a': 1}", "[", "train", "sample", "=", "--list"])
values |= st.sampled_from(["\x1b[31m", "a\nb", "\udcff", "é" * 2_000, "file/below", "own.py/x"])
values |= text | configs


def misspelt(name: str, place: int, other: str) -> str:
    """A name with one letter more, fewer or changed."""
    place %= len(name) + 1
    return name[:place] + other + name[place + (len(other) != 1) :]


names = st.sampled_from(NAMES)
names |= st.builds(misspelt, names, st.integers(0, 20), st.sampled_from(["", "x", "xy", "=", " "]))
dashes = st.sampled_from(["--", "--", "--", "-", "", "---"])
words = st.builds("{}{}={}".format, dashes, names, values) | st.builds("{}{}".format, dashes, names)
words |= values | st.builds("--config={}".format, configs) | st.just("--")
words |= st.builds("--flagfile={}".format, sources)
lines = st.lists(words, max_size=5)
# Often enough something that is right so far: what comes after it is looked at too.
begun = st.sampled_from([["--config=ivg:digits:vae"], ["--config=own.py", "--workdir=w"], []])
commands = st.builds(lambda a, b: [*a, *b], begun, lines)
# Debuggers and profilers of absl, which wait for a person or write what they were asked to.
TOOLS = ("pdb", "run_with", "profile_file")


def test_random_command_lines(amount, figure, ask, folder):
    counts = collections.Counter()
    before = asking.contents(folder)

    @settings(max_examples=amount(40, 1_200), deadline=None, derandomize=True, database=None)
    @given(commands)
    def run(line):
        if not any(tool in word for word in line for tool in TOOLS):
            counts["tried"] += 1
            counts["refused"] += asking.refused(ask("ivg.main", line))

    run()
    assert asking.contents(folder) == before
    assert 0 < counts["tried"] - counts["refused"] < counts["refused"]
    figure("command line", "command lines tried", counts["tried"])
    figure("command line", "of them refused with one sentence", counts["refused"])


# ---- config files and flag files ----------------------------------------------------------------


def test_every_config_file_of_nonsense(ask, folder):
    """The sentence says which file it was, and where a line of it is at fault, which."""
    before = asking.contents(folder)
    root = os.geteuid() == 0  # to whom no file is closed
    for name in [*FILES, "folder.py", "ring.py", "pipe.py", "closed.py", "missing.py"]:
        if name in GOOD or not name.endswith(".py"):
            continue
        for mode in ("train", "evaluate"):
            answer = ask("ivg.main", [f"--config={name}", "--workdir=w", f"--mode={mode}"])
            assert asking.refused(answer), (name, answer)
    assert asking.contents(folder) == before
    for name, words in {
        "breaks.py": "breaks.py, line 2: RuntimeError: first second.",
        "recurses.py": "recurses.py, line 2: RecursionError: ",
        "ends.py": "ends.py, line 5: SystemExit: 0.",
        "gone.py": "gone.py, line 2: FileNotFoundError: ",
        "imports.py": "imports.py, line 1: ModuleNotFoundError: No module named 'no_such_module'",
        "nothing.py": "get_config of nothing.py returns NoneType, not a ConfigDict",
        "mapping.py": "get_config of mapping.py returns dict, not a ConfigDict",
        "binary.py": "binary.py is no Python file",
        "placeholder.py": "leaves a required field open",
        "more.py": 'a field "learning_rate", which nothing reads',
        "option.py": "vae.network.depth=",
        "two.py": "get_config() missing 2 required",
        "own.py:vae:ali": 'no method "vae:ali"',
        "with:colon.py": 'no config file "with:colon.py"',
        "syntax.py": "syntax.py, line 1: invalid syntax.",
        "closed.py": "returns int" if root else "cannot be read (Permission denied",
    }.items():
        assert words in ask("ivg.main", [f"--config={name}", "--workdir=w"]).err, name


@pytest.mark.parametrize(
    "words, said",
    [
        (["--flagfile=missing"], "cannot be opened (No such file or directory: 'missing')"),
        (["--flagfile", "folder.py"], "cannot be opened (Is a directory"),
        (["--flagfile=pipe.py"], "--flagfile=pipe.py is a pipe"),
        (["--flagfile=flags_loop"], "a --flagfile names itself"),
        (["--flagfile=flags_binary"], "the --flagfile is no text file"),
        (["--flagfile=flags_zero"], "cannot be a directory (embedded null byte"),
        (["--flagfile=flags_nested"], "no option --nonsense"),
        (["--flagfile"], "--flagfile wants a file"),
        (["--config=ivg:digits", f"--workdir={'a' * 5_000}"], "(File name too long"),
        (["--mode=sample", "--num_samples=10000000"], "not an integer in the range"),
        (["--list=maybe"], '--list wants true or false, not "maybe"'),
        (["--wrkdir=a"], "no option --wrkdir; did you mean --workdir?"),
        (["--config=ivg:digits", "--config.data=3"], "set one of its fields, as in --config.data."),
        (["--config=ivg:digits", "--config.attributes[0]=3"], "no such field"),
        (["--config=ivg:digits", "--config.seed=1", "--config=ivg:digits"], "name it once"),
    ],
)
def test_sentences(ask, words, said):
    assert said in (answer := ask("ivg.main", words)).err and asking.refused(answer)


def test_a_flag_file_that_is_right(ask):
    answer = ask("ivg.main", ["--flagfile=flags", "--workdir=w"])
    assert not asking.refused(answer) and '"seed": 3' in answer.out


def test_help_in_every_form(ask):
    for word in (
        "-h",
        "-?",
        "--help",
        "-help",
        "--helpshort",
        "--helpfull",
        "--helpxml",
        "--help=1",
    ):
        answer = ask("ivg.main", ["--list", word])
        assert answer.code == 0 and not answer.err and "exit codes" in answer.out, word
        assert ("absl.logging" in answer.out) == ("full" in word or "xml" in word)


def test_real_processes(tmp_path):
    """The same without a fork: exit code, one line, nothing written."""
    for words in (
        ["--flagfile=missing"],
        [f"--config={config_files.folder() / 'base.py'}:NOPE"],
        ["--config=ivg:digits:vae", "--config.vae.beta=nan", f"--workdir={tmp_path / 'run'}"],
    ):
        done = command.run(*words)
        assert asking.refused(asking.Answer(done.returncode, done.stdout, done.stderr))
    assert not list(tmp_path.iterdir())


# ---- the other programs -------------------------------------------------------------------------

OTHERS = ["ivg.report", "ivg.ranking", "ivg.explore", "ivg.export"]
OTHERS = [f"{name}.__main__" if name != "ivg.export" else name for name in OTHERS]
EXPERIMENTS = ["ibgan_table1", "infovaegan_table1", "mmvae_table2", "mmvae_weights", "bench"]
EXPERIMENTS = [f"experiments.{name}" for name in [*EXPERIMENTS, "ibgan_beta_sweep", "bench_growth"]]
OPTIONS = ["out", "images", "votes", "group", "relation", "sort", "seed", "workdir", "port"]
OPTIONS += ["step", "open", "preset", "seeds", "data", "methods", "betas", "num_steps", "slurm"]
OPTIONS += ["launcher", "runs_at_once", "hours_per_job", "values", "rounds", "seconds", "help"]
arguments = st.builds("--{}={}".format, st.sampled_from(OPTIONS), values)
arguments |= st.sampled_from(OPTIONS).map("--{}".format) | values
# No random host: a name would be asked for on the network.
arguments |= st.sampled_from(["--port=99999", "--port=-1", "--host=", "--host=" + "a" * 99])
HERE = ("127.0.0.1", 0)


def test_the_other_programs(amount, figure, folder):
    """Given no run, they refuse everything but their help."""
    counts = collections.Counter()
    before = asking.contents(folder)
    with asking.asking(folder, *OTHERS, *EXPERIMENTS) as ask, socket.create_server(HERE) as taken:

        @settings(max_examples=amount(15, 300), deadline=None, derandomize=True, database=None)
        @given(st.sampled_from([*OTHERS, *EXPERIMENTS]), st.lists(arguments, max_size=4))
        def run(program, words):
            counts["tried"] += 1
            counts["refused"] += asking.refused(ask(program, words))

        run()
        port = taken.getsockname()[1]
        answer = ask("ivg.explore.__main__", ["--workdir=nowhere", f"--port={port}"])
        assert f"port {port} is in use" in answer.err and asking.refused(answer)
    assert asking.contents(folder) == before
    figure("command line", "of the other programs tried", counts["tried"])
    figure("command line", "of these lines refused with one sentence", counts["refused"])
