"""What the source may not do: load pickles, run text, start shells, unpack archives blindly."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest
from exported import tiny

from ivg import export, model_card, programs

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILES = sorted(
    path for room in ("ivg", "configs", "experiments") for path in ROOT.glob(f"{room}/**/*.py")
)
# Modules whose files run code when they are read, or that run text.
FORBIDDEN = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN |= {"jsonpickle", "pandas", "h5py", "code", "codeop", "runpy", "imp"}
RUNS = {"eval", "exec", "compile", "__import__", "execfile"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
LOADERS = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "joblib.load"}
LOADERS |= {"tempfile.mktemp", "numpy.lib.format.read_array", "sys.path_hooks.append"}
# What is read with a name of the program's own: (file, name) -> why.
ALLOWED = {
    ("experiments/mutation_runs.py", "exec"): "runs altered copies of ivg's own source",
    ("experiments/mutation_runs.py", "compile"): "the same",
}
IMPORTERS = {  # importlib.import_module of a name that is no literal
    "ivg/trackers.py": "a name of its own table",
    "experiments/bench_runs.py": "a config of its own table",
    "experiments/bench_step_cases.py": "a config of its own table",
    "experiments/mutation_runs.py": "modules of its own table",
}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or an attribute, "" of anything else; np is numpy."""
    if isinstance(node, ast.Name):
        return {"np": "numpy", "onp": "numpy"}.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else f".{node.attr}"
    return ""


def named(call: ast.Call, name: str) -> object:
    """The value of an argument by name, as far as it is a literal; ... where it is not given."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value.value if isinstance(keyword.value, ast.Constant) else "unknown"
    return ...


def imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module or ""
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(source: str, file: str) -> list[str]:
    """What a source does that it may not, each with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        place = f"{file}:{getattr(node, 'lineno', 0)}"
        for name in imports(node):
            if name.split(".")[0] in FORBIDDEN or name in LOADERS | SHELLS:
                found.append(f"{place} imports {name}")
        if isinstance(node, ast.Call):
            found += [f"{place} {what}" for what in of_call(node, file)]
    return found


def of_call(call: ast.Call, file: str) -> Iterator[str]:
    name = dotted(call.func)
    last = name.split(".")[-1]
    if name in RUNS | SHELLS | LOADERS and (file, name) not in ALLOWED:
        yield f"calls {name}"
    if name == "numpy.load" and named(call, "allow_pickle") is not False:
        yield "loads arrays without allow_pickle=False"
    if named(call, "allow_pickle") not in (..., False):
        yield "allows pickles"
    if named(call, "shell") not in (..., False):
        yield "starts a shell"
    if last in ("extractall", "extract", "unpack_archive"):
        yield "unpacks an archive"
    imports = last in ("load_module", "exec_module", "import_module")
    if imports and not literal(call) and file not in IMPORTERS:
        yield f"{last} of a name that is no literal"
    if name in ("PIL.Image.open", "Image.open") and named(call, "formats") is ...:
        yield "opens images of every kind"


def literal(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant)


def test_the_source_loads_no_pickle_and_runs_no_text(figure):
    found, read = [], 0
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        found += offences(path.read_text(), name)
        read += 1
    assert not found, "\n".join(found)
    assert read > 150
    figure("security", "source files without a loader of pickles", read)


def test_what_is_allowed_is_there():
    for file, name in ALLOWED:
        assert name in (ROOT / file).read_text(), file
    for file in IMPORTERS:
        assert "import_module" in (ROOT / file).read_text(), file


def test_the_card_s_lines_keep_to_it():
    model = tiny("infovaegan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "compare", lambda *_: "not compared")
        patch.setattr(programs, "ROWS", 2)
        made = programs.Programs(programs.functions_of(model), {}, {})
        sizes = dict.fromkeys([f"{n}.jax_export" for n in made.functions], {"bytes": 1})
        sizes["weights.safetensors"] = {"bytes": 1}
        about = export.describe(model, made, {}, sizes, {"ivg": "0"})
    lines = model_card.snippet(about)
    assert "np.load(" in lines and not offences(lines, "card")


def test_nothing_in_the_notebook_or_the_scripts_of_ci_does_it():
    for path in (*ROOT.glob("experiments/*.ipynb"), *ROOT.glob(".ci/*")):
        text = path.read_text()
        assert not re.search(
            r"\bpickle\b|torch\.load|allow_pickle=True|curl[^\n]*\|\s*(ba)?sh", text
        )


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads as f",
        "import numpy as np; np.load(p)",
        "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=flag)",
        "torch.load(p)",
        "torch.load(p, weights_only=True)",
        "yaml.load(f)",
        "eval(text)",
        "exec(open(p).read())",
        "compile(text, 'x', 'exec')",
        "__import__(name)",
        "os.system('ls')",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=how)",
        "tempfile.mktemp()",
        "from tempfile import mktemp",
        "zipfile.ZipFile(p).extractall(d)",
        "tar.extract(m)",
        "shutil.unpack_archive(p)",
        "importlib.import_module(config['class'])",
        "spec.loader.exec_module(m)",
        "Image.open(p)",
        "def f():\n    import joblib",
        "read = np.load(p, mmap_mode='r', **{})",
    ],
)
def test_each_of_them_would_be_found(line):
    assert offences(line, "ivg/x.py"), line


@pytest.mark.parametrize(
    "line",
    [
        "import pickletools",
        "np.load(p, allow_pickle=False)",
        "ast.literal_eval(text)",
        "re.compile(text)",
        "jax.jit(f).lower(x).compile()",
        "model.load(p)",
        "subprocess.run([x], shell=False)",
        "importlib.import_module('flatbuffers')",
        "Image.open(p, formats=('PNG',))",
        "self.eval(x)",
    ],
)
def test_harmless_ones_are_left_alone(line):
    assert not offences(line, "ivg/x.py"), line
