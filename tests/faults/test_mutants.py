"""A formula that is changed a little is noticed: mutants of the losses, distributions and players.

All of them are tried by `python -m experiments.mutation`; here, a sample of some modules, drawn
anew whenever a formula changes. The long form also wants that run to be of the present formulas.
"""

import json
import pathlib
import random
import re
import subprocess
import sys
import zlib

import reliability

from experiments import mutants, mutation

COMMAND = [sys.executable, "-m", "experiments.mutation"]


def fingerprints():
    return {
        module: mutants.fingerprint((mutation.CHECKOUT / module).read_text())
        for module in mutation.MODULES
    }


def test_a_sample_is_noticed(amount, figure, tmp_path):
    seed = zlib.crc32("".join(fingerprints().values()).encode())
    modules = sorted(pathlib.Path(module).stem for module in mutation.MODULES)
    chosen = amount(["players"], random.Random(seed).sample(modules, 4))
    which = [f"--modules={','.join(chosen)}", f"--sample={amount(5, 40)}", f"--seed={seed}"]
    command = [*COMMAND, *which, f"--out={tmp_path}"]
    done = subprocess.run(command, cwd=reliability.REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    killed, tried = re.search(r"^killed (\d+) of (\d+)$", done.stdout, re.M).groups()
    assert int(tried) == amount(5, 40)
    assert not list(tmp_path.iterdir())  # a sample writes nothing
    figure("mutants", "tried in a sample", int(tried))
    figure("mutants", "noticed by a test", int(killed))


def test_the_committed_run_has_a_reason_for_each_survivor(amount):
    file = mutation.CHECKOUT / "experiments" / "results" / "reliability.json"
    found = json.loads(file.read_text())["mutation"]["modules"]
    assert set(found) == set(mutation.MODULES)
    assert mutation.complaints(found, everything=True) == []
    if amount(False, True):  # the whole run takes minutes, which not every change of a line should
        of = {module: row["code"] for module, row in found.items()}
        assert of == fingerprints(), "a formula changed: python -m experiments.mutation"
