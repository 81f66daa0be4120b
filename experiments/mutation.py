"""Do the tests notice when a formula is changed? Mutants of the losses, distributions and players.

  python -m experiments.mutation
  python -m experiments.mutation --modules=gaussian,players
  python -m experiments.mutation --sample=40 --seed=1

Each mutant is one small change of one line; the tests of its module run on it until one fails: the
mutant is killed. Those of `shared`, beside the checkout, do not count. A mutant that survives is
listed with the reason that mutation_reasons.json gives; one without a reason, or a reason without
its survivor, makes the command fail, and so do less than 90 % killed. Nothing in the checkout is
changed but the entry "mutation" of reliability.json and the page mutation.md in --out. A module
that is as it was, with its tests, is not run again; --again does. A sample is only printed.
"""

import argparse
import hashlib
import json
import pathlib
import random
import sys
import tempfile
import time
from collections.abc import Sequence

from experiments import mutants, mutation_runs, provenance
from experiments.mutants import Mutant

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
REASONS = pathlib.Path(__file__).with_name("mutation_reasons.json")
ENOUGH = 90  # per cent
PACKAGES = ("jax", "jaxlib", "chex", "optax", "numpy", "scipy", "pytest", "mutmut", "libcst")

# Every module of these rooms, and the tests that have to notice. Beside them: its own docstrings'.
MODULES = {
    "ivg/losses/adversarial.py": ("tests/losses/test_adversarial.py",),
    "ivg/losses/independence.py": ("tests/losses/test_independence.py",),
    "ivg/losses/information.py": (
        "tests/losses/test_information.py",
        "tests/losses/test_mutual_information.py",
    ),
    "ivg/losses/total_correlation.py": ("tests/losses/test_total_correlation.py",),
    "ivg/losses/variational.py": ("tests/losses/test_variational.py",),
    "ivg/distributions/bernoulli.py": ("tests/distributions/test_bernoulli.py",),
    "ivg/distributions/categorical.py": ("tests/distributions/test_categorical.py",),
    "ivg/distributions/dirichlet.py": ("tests/distributions/test_dirichlet.py",),
    "ivg/distributions/gaussian.py": ("tests/distributions/test_gaussian.py",),
    "ivg/players.py": ("tests/test_players.py",),
}
HELP = ("tests/oracles.py", "tests/conftest.py", "tests/test_doctests.py")
DOCTEST = "tests/test_doctests.py::test_examples_of_docstrings[{}]"


# ---- what is run --------------------------------------------------------------------------------


def tests_of(root: pathlib.Path, module: str) -> list[str]:
    """What pytest is given for a module."""
    examples = ">>> " in (root / module).read_text()
    dotted = module.removesuffix(".py").replace("/", ".")
    return [*MODULES[module], *([DOCTEST.format(dotted)] if examples else [])]


def state(root: pathlib.Path, module: str) -> dict[str, str]:
    """Fingerprints of a module and of its tests: a result holds as long as both."""
    texts = [(root / name).read_bytes() for name in (*MODULES[module], *HELP)]
    return {
        "code": mutants.fingerprint((root / module).read_text()),
        "tests": hashlib.sha256(b"\0".join(texts)).hexdigest()[:16],
    }


def tested(copy: pathlib.Path, module: str, chosen: Sequence[Mutant]) -> dict:
    """What becomes of the chosen mutants of one module."""
    start = time.monotonic()
    tests = mutation_runs.Tests(copy, tests_of(copy, module))
    outcomes = tests.on(chosen)
    survivors = [m for m, outcome in zip(chosen, outcomes, strict=True) if outcome.passed]
    print(f"{module}: {len(chosen) - len(survivors)} of {len(chosen)} killed", flush=True)
    return {
        "mutants": len(chosen),
        "killed": len(chosen) - len(survivors),
        "timeouts": sum(outcome.killer == "timeout" for outcome in outcomes),
        "seconds": round(time.monotonic() - start, 1),
        "survivors": [
            {name: getattr(mutant, name) for name in ("function", "line", "before", "after")}
            for mutant in survivors
        ],
    }


def whole(copy: pathlib.Path, module: str, known: dict[str, dict]) -> dict[str, dict]:
    """All mutants of the module beside what is known of others; of itself, unless it changed."""
    now = state(copy, module)
    if {name: known.get(module, {}).get(name) for name in now} != now:
        chosen, left_out = mutants.make(copy, module)
        known = known | {module: now | {"left_out": left_out} | tested(copy, module, chosen)}
    return {name: known[name] for name in MODULES if name in known}


def sample(copy: pathlib.Path, modules: Sequence[str], count: int, seed: int) -> dict[str, dict]:
    """So many mutants of all that the modules have, drawn without replacement."""
    every = [mutant for module in modules for mutant in mutants.make(copy, module)[0]]
    drawn = random.Random(seed).sample(every, min(count, len(every)))
    by_module = {m: [mutant for mutant in drawn if mutant.module == m] for m in modules}
    return {m: tested(copy, m, chosen) for m, chosen in by_module.items() if chosen}


# ---- what is said of it -------------------------------------------------------------------------


def total(found: dict[str, dict]) -> dict[str, float]:
    """Figures of all modules together."""
    made, killed = (sum(row[name] for row in found.values()) for name in ("mutants", "killed"))
    return {
        "mutants made": made,
        "mutants killed": killed,
        "killed, per cent": round(100 * killed / made, 1),
        "survivors, each with its reason": made - killed,
    }


def key(module: str, survivor: dict) -> tuple[str, ...]:
    """What a reason belongs to: no line number, which other lines would change."""
    return module, survivor["function"], survivor["before"], survivor["after"]


def reasons() -> dict[tuple[str, ...], str]:
    """The reasons of the data file."""
    return {
        key(module, row): row["reason"]
        for module, rows in json.loads(REASONS.read_text()).items()
        for row in rows
    }


def complaints(found: dict[str, dict], *, everything: bool) -> list[str]:
    """Survivors without a reason; of whole modules also reasons without a survivor; too few."""
    given = reasons()
    present = {key(m, s): s["line"] for m, row in found.items() for s in row["survivors"]}
    lines = [
        f"{k[0]}:{line}: survives without a reason: {k[2]} -> {k[3]}"
        for k, line in present.items()
        if k not in given
    ]
    stale = [k for k in given if everything and k[0] in found and k not in present]
    lines += [f"{k[0]}: a reason for what does not survive: {k[2]} -> {k[3]}" for k in stale]
    share = total(found)["killed, per cent"]
    return lines + ([f"only {share} % are killed, not {ENOUGH}"] if share < ENOUGH else [])


def page(entry: dict) -> str:
    """The Markdown page."""
    from experiments.reporting import table  # late: it imports much that no child should have

    found, figures = entry["modules"], entry["figures"]["mutation"]
    head = ("module", "mutants", "killed", "%", "survived", "left out", "seconds")
    rows = [
        (f"`{m}`", row["mutants"], row["killed"], f"{100 * row['killed'] / row['mutants']:.1f}")
        + (len(row["survivors"]), row["left_out"], f"{row['seconds']:.0f}")
        for m, row in found.items()
    ]
    made, killed = figures["mutants made"], figures["mutants killed"]
    left_out = sum(row["left_out"] for row in found.values())
    rows.append(
        ("all", made, killed, figures["killed, per cent"], made - killed, left_out)
        + (entry["seconds"],)
    )
    lines = [
        "# Do the tests notice when a formula is changed?",
        "",
        f"{killed} of {made} mutants are killed, {figures['killed, per cent']} %. A mutant is one "
        "small change: a number, an operator, an argument that is None or left out, a condition. "
        "It is killed if a test of its module, or an example of its docstrings, fails; what "
        "survives is listed below with the reason. Left out, because nothing could notice: "
        "`__all__` and names that stand for types; annotations and decorated functions are not "
        "changed at all.",
        "",
        table(head, rows),
        "",
        f"`{entry['command']}`, {entry['device']}; commit {entry['commit']}; "
        + ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
        + ".",
        "",
        "## Survivors",
        "",
    ]
    return "\n".join([*lines, *_survivors(found)])


def _survivors(found: dict[str, dict]) -> list[str]:
    lines, given = [], reasons()
    for module, row in found.items():
        for reason in dict.fromkeys(given.get(key(module, s), "") for s in row["survivors"]):
            group = [s for s in row["survivors"] if given.get(key(module, s), "") == reason]
            lines += [reason or "No reason is given.", "", "```diff"]
            for survivor in group:
                lines.append(f"@@ {module}:{survivor['line']} {survivor['function']}")
                lines += [f"- {survivor['before']}", f"+ {survivor['after']}"]
            lines += ["```", ""]
    return lines


# ---- the command --------------------------------------------------------------------------------


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    short = {pathlib.Path(module).stem: module for module in MODULES}
    parser.add_argument("--modules", help=f"with commas, of {', '.join(short)}; default all")
    parser.add_argument("--sample", type=int, help="try only so many mutants, write nothing")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--again", action="store_true", help="run also what did not change")
    parser.add_argument("--out", type=pathlib.Path, default=CHECKOUT / "experiments" / "results")
    chosen = parser.parse_args(arguments)
    names = chosen.modules.split(",") if chosen.modules else list(short)
    if unknown := sorted(set(names) - set(short)):
        parser.error(f"--modules: no module {', '.join(unknown)}; there are {', '.join(short)}")
    if chosen.sample is not None and chosen.sample < 1:
        parser.error("--sample: at least 1.")
    chosen.modules = [short[name] for name in names]
    return chosen


def write(out: pathlib.Path, found: dict[str, dict]) -> dict:
    """The entry, of the modules that were tried so far."""
    seconds = sum(row["seconds"] for row in found.values())
    entry = provenance.about(CHECKOUT, "python -m experiments.mutation", seconds, PACKAGES)
    entry |= {"figures": {"mutation": total(found)}, "modules": found}
    provenance.update(out / "reliability.json", "mutation", entry)
    return entry


def main() -> int:
    """Runs the tests on the mutants and says what became of them; 1 if something is missing."""
    args = options()
    with tempfile.TemporaryDirectory() as folder:
        copy = mutation_runs.prepared(CHECKOUT, pathlib.Path(folder))
        if args.sample:
            found = sample(copy, args.modules, args.sample, args.seed)
        else:
            file = args.out / "reliability.json"
            entries = json.loads(file.read_text()) if file.exists() else {}
            found = {} if args.again else entries.get("mutation", {}).get("modules", {})
            for module in args.modules:
                found = whole(copy, module, found)
                entry = write(args.out, found)
            (args.out / "mutation.md").write_text(page(entry))
    wrong = complaints(found, everything=not args.sample)
    figures = total(found)
    print(f"killed {figures['mutants killed']} of {figures['mutants made']}", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
