"""Weights of strangers: pickles that would run something, or fill memory and time; safetensors."""

import base64
import io
import json
import pathlib
import pickle
import struct
import sys
import time
import zipfile
import zlib

import hostile
import numpy as np
import pytest

from ivg.errors import UserError
from ivg.networks import convert_inception, inception_weights, torch_file

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
PATIENCE = 20.0  # seconds for a file, at most; the bombs would take hours
MOST = 600  # MiB that reading one may take; the bombs would take thousands


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def put(place: int) -> bytes:
    return b"r" + struct.pack("<I", place)


def get(place: int) -> bytes:
    return b"j" + struct.pack("<I", place)


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(key: bytes = text("0"), count: int = 4) -> bytes:
    inside = text("storage") + named("torch", "FloatStorage") + key + text("cpu")
    return b"(" + inside + b"J" + struct.pack("<i", count) + b"tQ"


def tensor(shape: bytes = b"K\x04\x85", numbers: bytes | None = None) -> bytes:
    rebuild = named("torch._utils", "_rebuild_tensor_v2")
    return rebuild + b"(" + (numbers or storage()) + b"K\x00" + shape + b"K\x01\x85tR"


def doubled(count: int) -> bytes:
    """A tuple of two tuples of two tuples ...: 2 ** count steps to hash it or to write it out."""
    return text("y") + b"".join(put(i) + get(i) + b"\x86" for i in range(count))


def dictionaries(count: int) -> bytes:
    """A dictionary that holds one twice that holds one twice ..."""
    parts = [b"}" + text("w") + tensor() + b"s" + put(0)]
    for i in range(1, count):
        last = get(i - 1)
        parts.append(b"}(" + text("a") + last + text("b") + last + b"u" + put(i))
    return b"".join(parts)


def zipped(content: bytes, data: bytes = bytes(16), **more: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", data)
        for name, part in more.items():
            archive.writestr(f"archive/{name}", part)
    return out.getvalue()


def older(content: bytes, data: bytes = bytes(16), count: int = 4, keys: bytes = b"") -> bytes:
    parts = [pickle.dumps(torch_file.MAGIC, 2), pickle.dumps(1001, 2)]
    parts += [pickle.dumps({"little_endian": True}, 2), b"\x80\x02" + content + b"."]
    parts.append(keys or pickle.dumps(["0"], 2))
    return b"".join([*parts, struct.pack("<q", count), data])


def calls(mark: pathlib.Path) -> dict[str, bytes]:
    """Pickles that make a directory where they are loaded, by the instruction that does it."""
    path = text(str(mark))
    line = str(mark).encode()
    return {
        "GLOBAL, REDUCE": named("os", "mkdir") + path + b"\x85R",
        "STACK_GLOBAL": b"\x8c\x02os\x8c\x05mkdir\x93" + path + b"\x85R",
        "INST": b"(" + path + b"ios\nmkdir\n",
        "OBJ": b"(" + named("os", "mkdir") + path + b"o",
        "NEWOBJ": named("os", "mkdir") + path + b"\x85\x81",
        "NEWOBJ_EX": named("os", "mkdir") + path + b"\x85}\x92",
        "STRING, REDUCE": named("os", "mkdir") + b"S'" + line + b"'\n\x85R",
        "as a storage": b"(" + text("storage") + named("os", "mkdir") + path + b"\x85R" + b"tQ",
        "a dotted name": b"\x8c\x02os\x8c\x0bpath.exists\x93" + path + b"\x85R" + calls_again(path),
        "in a dictionary's state": named("collections", "OrderedDict") + b")R}" + text("w")
        + named("os", "mkdir") + path + b"\x85Rsb",
    }  # fmt: skip


def calls_again(path: bytes) -> bytes:
    return b"0" + named("os", "mkdir") + path + b"\x85R"


def test_no_instruction_of_a_pickle_runs_anything(tmp_path, capsys, figure):
    mark, tried, left = tmp_path / "mark", 0, 0
    for name, code in calls(mark).items():
        loose = b"\x80\x04" + code + b"."
        try:
            pickle.loads(loose)
        except Exception:
            assert name in ("NEWOBJ", "NEWOBJ_EX", "as a storage"), name
        if mark.exists():  # the control: what is refused below does it
            mark.rmdir()
            left += 1
        inside = b"\x80\x04}" + text("w") + code + b"s."
        forms = (zipped(loose), zipped(inside), loose, older(code), older(b"K\x01", keys=loose))
        for data in forms:
            file = tmp_path / f"{name}.pth"
            file.write_bytes(data)
            assert convert_inception.main([str(file), str(tmp_path / "w.npz")]) == 2
            said = capsys.readouterr().err
            assert said.startswith("error: ") and said.count("\n") == 1, said
            tried += 1
        assert not mark.exists() and not (tmp_path / "w.npz").exists()
    assert left >= 7
    figure("security", "hostile files offered, pickles that run something", tried)


BOMBS = {
    "dictionaries": lambda: zipped(b"\x80\x02" + dictionaries(60) + b"."),
    "deep dictionaries": lambda: zipped(
        b"\x80\x02" + (b"}" + text("a")) * 90_000 + b"K\x01" + b"s" * 90_000 + b"."
    ),
    "itself": lambda: zipped(b"\x80\x02}q\x00" + text("a") + b"h\x00s."),
    "names": lambda: zipped(b"\x80\x02}" + doubled(70) + tensor() + b"s."),
    "names of storages": lambda: zipped(
        b"\x80\x02}" + text("a") + tensor(numbers=storage(doubled(70))) + b"s."
    ),
    "names of modules": lambda: zipped(b"\x80\x02}" + doubled(70) + doubled(70) + b"\x93s."),
    "keys of the older form": lambda: older(
        b"}" + text("w") + tensor() + b"s", keys=b"\x80\x02]" + doubled(70) + b"a."
    ),
    "a length": lambda: zipped(b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"abc."),
    "a length in the older form": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"abc.",
    "a number": lambda: zipped(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01."),
    "digits": lambda: zipped(b"\x80\x02}" + text("a") + b"I" + b"9" * 1_000_000 + b"\ns."),
    "instructions": lambda: zipped(b"\x80\x02" + b"N" * 3_000_000 + b"."),
    "marks": lambda: zipped(b"\x80\x02" + b"(" * 3_000_000 + b"."),
    "a pickle of zeros": lambda: zipped(bytes(60_000_000)),
    "a byte order": lambda: zipped(b"\x80\x02}.", byteorder=bytes(60_000_000)),
    "numbers of a small file": lambda: zipped(
        b"\x80\x02}" + text("w") + tensor(numbers=storage(count=15_000_000)) + b"s.",
        bytes(60_000_000),
    ),
    "numbers that are not there": lambda: older(
        b"}" + text("w") + tensor(numbers=storage(count=2**31 - 1)) + b"s", count=2**31 - 1
    ),
    "a long shape for many": lambda: zipped(
        b"\x80\x02}" + text("a") + b"(" + b"K\x01" * 400_000 + b"t" + put(9) + b"s"
        + (text("w") + tensor(shape=get(9)) + b"s") * 2000 + b"."
    ),
    "axes": lambda: zipped(
        b"\x80\x02}" + text("w") + tensor(shape=b"(" + b"K\x01" * 100 + b"t") + b"s."
    ),
    "negative": lambda: zipped(
        b"\x80\x02}" + text("w") + tensor(numbers=storage(count=-4)) + b"s."
    ),
}  # fmt: skip


def memory_peak() -> float:
    """MiB of this process, at most since `forget_peak`."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def forget_peak() -> float:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return memory_peak()


def linux() -> bool:
    return sys.platform == "linux"


def test_bombs_are_refused_in_bounded_time_and_memory(tmp_path, figure):
    tried = 0
    for name, make in BOMBS.items():
        file = tmp_path / "bomb.pth"
        file.write_bytes(make())
        before, start = forget_peak() if linux() else 0.0, time.monotonic()
        with pytest.raises(UserError) as error:
            torch_file.read(file)
        assert "\n" not in str(error.value)
        assert time.monotonic() - start < PATIENCE, name
        assert not linux() or memory_peak() - before < MOST, name
        tried += 1
    figure("security", "hostile files offered, weights that would fill memory or time", tried)


def test_one_storage_by_many_names_takes_its_own_memory_once(tmp_path):
    """Tied weights are allowed; twenty thousand copies of 4 MB would be 80 GB."""
    size = b"J" + struct.pack("<i", 1_000_000) + b"\x85"
    first = text("w0") + tensor(size, storage(count=1_000_000) + put(1)) + b"s"
    parts = [text(f"w{i}") + tensor(size, get(1)) + b"s" for i in range(1, 20_000)]
    body = b"\x80\x02}" + first + b"".join(parts) + b"."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/data/0", bytes(4_000_000))
    file = tmp_path / "tied.pth"
    file.write_bytes(out.getvalue())
    before = forget_peak() if linux() else 0.0
    found = torch_file.read(file)
    assert len(found) == 20_000 and found["w7"].shape == (1_000_000,)
    assert np.shares_memory(found["w7"], found["w19999"])
    assert not linux() or memory_peak() - before < MOST
    with pytest.raises(ValueError, match="read-only"):
        found["w7"][0] = 1


def test_altered_files_are_arrays_or_one_sentence(tmp_path, amount, figure):
    """Bytes changed at random in files that PyTorch wrote."""
    saved = json.loads((REPOSITORY / "tests/networks/torch_files.json").read_text())
    rng, count, refused = np.random.default_rng(0), amount(150, 3000), 0
    contents = [zlib.decompress(base64.b64decode(saved[kind])) for kind in ("zip", "older")]
    for i in range(count):
        data = bytearray(contents[i % 2])
        for _ in range(int(rng.integers(1, 5))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        file = tmp_path / "altered.pth"
        file.write_bytes(data)
        try:
            assert all(isinstance(x, np.ndarray) for x in torch_file.read(file).values())
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > count / 4
    figure("security", "hostile files offered, weights altered at random", count)


def test_safetensors_of_strangers(tmp_path, figure):
    mark = tmp_path / "mark"
    assert hostile.is_live(mark)

    def made(header: object, size: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return (len(text) if size is None else size).to_bytes(8, "little") + text + bytes(8)

    name = next(iter(inception_weights.expected()))

    def entry(**change: object) -> dict:
        return {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | change}

    files = [
        pickle.dumps(hostile.Mark(mark)),
        made(pickle.dumps(hostile.Mark(mark))),
        made(entry(), size=2**63),
        made(entry(), size=0),
        made(b"[" * 200_000),
        made(b'{"a":' * 200_000),
        made(b"\xff\xfe{}"),
        *map(made, ([], 1, None, "text", {name: 1}, {name: None}, {name: []})),
        *(made(entry(dtype=d)) for d in ("O", "object", None, [], {}, "F33", "V8", 10**400)),
        *(
            made(entry(shape=s))
            for s in ([2**62], [-1], [-2, -1], 2, "2", [2.5], [[2]], [0, 2**62])
        ),
        *(
            made(entry(data_offsets=o))
            for o in ([0, 2**70], [-8, 8], [8, 0], [0], [0, 4, 8], "08", None, [0.0, 8.0], [1, 9])
        ),
    ]
    for content in files:
        file = tmp_path / "w.safetensors"
        file.write_bytes(content)
        with pytest.raises(UserError) as error:
            inception_weights.read(file)
        assert "\n" not in str(error.value)
    assert not mark.exists()
    figure("security", "hostile files offered, safetensors", len(files))
