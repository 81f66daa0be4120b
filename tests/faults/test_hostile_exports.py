"""Exports of strangers, loaded by the lines that stand in every model card."""

import ctypes
import pathlib
import re

import hostile
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from exported import tiny
from safetensors.numpy import save_file

from ivg import export, programs

pytest.importorskip("flatbuffers", reason="needs the extra `export`")
X = np.eye(3, dtype=np.float32) * 4
TARGET = "leaves_a_mark"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """A true export."""
    out = tmp_path_factory.mktemp("export") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "compare", lambda *_: "not compared")
        export.write(tiny("infovaegan"), out)
    return out


@pytest.fixture(scope="module")
def lines(folder) -> str:
    """The Python of the card, as a reader copies it."""
    card = (folder / "README.md").read_text()
    return re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]


@pytest.fixture(scope="module")
def load(lines, folder):
    """The card's function of that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        space = run(lines)
    assert "codes" in space
    return space["load"]


def run(lines: str) -> dict:
    """What the card's lines have made at their end; raises what they raise."""
    space: dict = {}
    try:
        exec(lines, space)
        assert np.array_equal(space["images"], space["example"]["images"])
    finally:
        if "example" in space:
            space["example"].close()
    return space


def exported(f, *allowed: str, order: int = 0) -> bytes:
    checks = [jax.export.DisabledSafetyCheck.custom_call(name) for name in allowed]
    made = jax.export.export(jax.jit(f), disabled_checks=checks)(X)
    return bytes(made.serialize(vjp_order=order))


def foreign(name: str, **options):
    """A function that calls native code by its name."""
    return lambda x: jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(x.shape, x.dtype), **options)(x)


@jax.custom_vjp
def innocent(x):
    return x


innocent.defvjp(lambda x: (x, x), lambda x, g: (jnp.linalg.cholesky(x) + g,))

# Programs with native code that is not in them: JAX's own kernels, as of LAPACK, run all the same.
CALLS = {
    "a kernel that jax itself allows": lambda: exported(jnp.linalg.cholesky),
    "its derivative only": lambda: exported(innocent, order=1),
    "an address as a callback": lambda: exported(
        foreign("xla_ffi_python_cpu_callback"), "xla_ffi_python_cpu_callback"
    ),
    "an older callback": lambda: exported(
        foreign("xla_python_cpu_callback"), "xla_python_cpu_callback"
    ),
    "a kernel of a GPU": lambda: exported(foreign("mosaic_gpu_v2")),
    "a kernel of Triton": lambda: exported(foreign("__gpu$xla.gpu.triton"), "__gpu$xla.gpu.triton"),
    "a name that ends as an allowed one": lambda: exported(
        foreign("x shape_assertion("), "x shape_assertion("
    ),
    "a name that begins so": lambda: exported(foreign("shape_assertion("), "shape_assertion("),
    "a name with a quote": lambda: exported(foreign('"(custom'), '"(custom'),
}


def test_a_program_that_calls_other_code_is_refused(load, tmp_path, figure):
    file, refused = tmp_path / "x.jax_export", 0
    for name, make in CALLS.items():
        file.write_bytes(make())
        with pytest.raises(ValueError, match="x.jax_export calls code that is not in it"):
            print(name, load(file))
        refused += 1
    figure("security", "hostile files offered, programs of exports", refused)


def test_native_code_runs_without_those_lines(load, tmp_path):
    """The control: the same file is run by jax, and not by the card's lines."""
    mark = tmp_path / "mark"

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    def leave(out, inputs):
        mark.mkdir(exist_ok=True)

    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.c_char_p] + [ctypes.c_void_p],
    )
    made = capsule(ctypes.cast(leave, ctypes.c_void_p), b"xla._CUSTOM_CALL_TARGET", None)
    jax.ffi.register_ffi_target(TARGET, made, platform="cpu", api_version=0)
    file = tmp_path / "x.jax_export"
    file.write_bytes(exported(foreign(TARGET, custom_call_api_version=1), TARGET))
    with pytest.raises(ValueError, match="calls code"):
        load(file)
    assert not mark.exists()
    call = jax.jit(jax.export.deserialize(bytearray(file.read_bytes())).call)
    try:
        jax.block_until_ready(call(X))
    except jax.errors.JaxRuntimeError as error:
        pytest.skip(f"this jaxlib runs no such function: {str(error)[:80]}")
    assert mark.exists()


def test_only_checks_of_shapes_are_called_by_our_own(folder):
    for file in folder.glob("*.jax_export"):
        made = jax.export.deserialize(bytearray(file.read_bytes()))
        found = set(re.findall(r"custom_call (\S*?)\(", made.mlir_module()))
        assert found == {"@shape_assertion"} and made.mlir_module().count("custom_call") > 0


def test_classes_of_a_stranger_are_not_made(load, tmp_path, monkeypatch):
    """A tree node of an unknown class is refused by its name; nothing is imported for it."""
    mark = tmp_path / "mark"
    hostile.module(tmp_path, "evil_node", mark)
    monkeypatch.syspath_prepend(tmp_path)

    class Node(tuple):
        pass

    jax.tree_util.register_pytree_node(Node, lambda n: (tuple(n), None), lambda _, c: Node(c))
    jax.export.register_pytree_node_serialization(
        Node,
        serialized_name="evil_node.Handler",
        serialize_auxdata=lambda _: b"",
        deserialize_auxdata=lambda _: mark.mkdir(),
    )
    file = tmp_path / "x.jax_export"
    file.write_bytes(exported(lambda x: Node((x, x))))
    load(file)
    assert mark.exists()  # the control: where the class is known, its own code runs
    mark.rmdir()
    registry = jax._src.export._export.deserialization_registry
    del registry["evil_node.Handler"]
    with pytest.raises(ValueError, match="unregistered type"):
        load(file)
    assert not mark.exists()
    __import__("evil_node")
    assert mark.exists()


def test_arrays_hold_no_objects(lines, folder, tmp_path, monkeypatch, figure):
    """example.npz and weights.safetensors of a stranger, by the card's lines."""
    mark, tried = tmp_path / "mark", 0
    assert hostile.is_live(mark)
    bait = np.array([hostile.Mark(mark)], object)
    for name in ("images", "codes.d", "codes.c", "codes.z"):
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        arrays = dict(np.load(folder / "example.npz"))
        np.savez(tmp_path / "example.npz", **(arrays | {name: bait}))
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match="allow_pickle=False"):
            run(lines)
        tried += 1
    (tmp_path / "example.npz").write_bytes((folder / "example.npz").read_bytes())
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "other.safetensors")
    other = (tmp_path / "other.safetensors").read_bytes()
    huge = (1 << 60).to_bytes(8, "little")
    for content in (
        hostile.pickle.dumps(hostile.Mark(mark)),
        huge + other[8:],
        other[:8] + other[8:].replace(b"[0,8]", b"[9,1]"),
        other.replace(b'"F32"', b'"O64"'),
        b"",
    ):
        (tmp_path / "weights.safetensors").write_bytes(content)
        with pytest.raises(Exception, match="(?i)header|offset|invalid|dtype|variant"):
            run(lines)
        tried += 1
    assert not mark.exists()
    figure("security", "hostile files offered, arrays of exports", tried)
