"""Arrays out of a file of `torch.save`, without PyTorch and without running what is in the file.

Such a file is a pickle, and unpickling runs whatever the file says. Here the pickle's instructions
are only read: a small machine carries out those that build plain values, and knows three records,
a dictionary, a tensor and a parameter. Anything else is refused, not called. Both forms are read:
the zip archive of PyTorch 1.6 and later, and the older one, several pickles in a row with the
numbers behind them. What a file may ask for is bounded by its size: no pickle grows beyond
`MOST_STEPS` values, and no more numbers are read than the file can hold.
"""

import io
import lzma
import pathlib
import pickletools
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ivg.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C  # first value of the older form
TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
DICTIONARY = "collections.OrderedDict"
TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
PARAMETER = "torch._utils._rebuild_parameter"
CLASSES = {DICTIONARY, PARAMETER, *TENSORS, *(f"torch.{name}" for name in TYPES)}
# What a damaged file may raise on the way.
BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)
BROKEN += (EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
# A network of 1,000 tensors has a pickle of 100 kB with 30,000 instructions.
MOST = 16 * 2**20  # bytes of a pickle
MOST_STEPS = 1_000_000  # instructions of a pickle
MOST_AXES = 64  # of a tensor: NumPy's own limit
DEEPEST = 16  # dictionaries within each other


class Refused(Exception):
    """The file asks for something that is not a plain value or a tensor."""


class Class(NamedTuple):
    """A name out of the file; only a name."""

    name: str


class Stored(NamedTuple):
    """The numbers behind tensors: where they are, of which type, how many."""

    key: str
    dtype: str
    count: int


class Tensor(NamedTuple):
    """A view of stored numbers, counted in elements."""

    stored: Stored
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a saved dictionary by name (of a nested one, names joined by dots).

    Raises:
        UserError: there is no such file, it is no file of `torch.save`, or it holds more than
            dictionaries, tensors and plain values.
    """
    path = pathlib.Path(path).expanduser()
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            with warnings.catch_warnings():  # of texts with strange escapes, which are refused
                warnings.simplefilter("ignore", DeprecationWarning)
                arrays = _of_zip(file, size) if zipfile.is_zipfile(file) else _of_older(file)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except Refused as error:
        raise UserError(f"{path} is refused: {error}") from None
    except BROKEN:
        raise UserError(f"{path} is damaged, or no file of PyTorch's weights") from None
    if not arrays:
        raise UserError(f"{path} holds no tensors by name: save the network's state_dict")
    return arrays


# --- the two forms --------------------------------------------------------------------------------


def _of_zip(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise Refused("it is a zip file without one data.pkl, as PyTorch writes it")
        folder = pickles[0].removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and _member(archive, order, 100) != b"little":
            raise Refused("its numbers are big-endian")
        content = Machine().run(io.BytesIO(_member(archive, pickles[0], MOST)))
        room = size  # PyTorch does not compress: the numbers are no larger than the file

        def numbers(stored: Stored) -> bytes:
            nonlocal room
            info = archive.getinfo(f"{folder}data/{stored.key}")
            if info.file_size != stored.count * np.dtype(stored.dtype).itemsize:
                raise ValueError(stored)
            room -= info.file_size
            if room < 0:
                raise Refused("its numbers are larger than the file")
            return archive.read(info)

        return _arrays(content, numbers)


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A small file of the archive."""
    if archive.getinfo(name).file_size > most:
        raise Refused(f"its {name.rsplit('/')[-1]} is larger than that of any network's weights")
    return archive.read(name)


def _of_older(file: BinaryIO) -> dict[str, np.ndarray]:
    file.seek(0)
    head = io.BytesIO(file.read(MOST))  # no length in the pickles can reach beyond it
    size = file.seek(0, io.SEEK_END)
    if Machine().run(head) != MAGIC:
        raise ValueError("no magic number")
    Machine().run(head)  # version of the form
    if not Machine().run(head)["little_endian"]:
        raise Refused("its numbers are big-endian")
    machine = Machine()
    content, places = machine.run(head), {}
    keys = Machine().run(head)
    sizes = {stored.key: stored for stored in machine.stored}
    file.seek(head.tell())
    for key in keys:
        if not isinstance(key, str):
            raise ValueError(key)
        stored = sizes[key]
        count, each = int.from_bytes(file.read(8), "little"), np.dtype(stored.dtype).itemsize
        if count != stored.count:
            raise ValueError(stored)
        places[key] = file.tell(), count * each
        if file.tell() + count * each > size:
            raise ValueError(stored)
        file.seek(count * each, io.SEEK_CUR)

    def numbers(stored: Stored) -> bytes:
        start, length = places[stored.key]
        file.seek(start)
        return file.read(length)

    return _arrays(content, numbers)


def _arrays(content: Any, numbers: Callable[[Stored], bytes]) -> dict[str, np.ndarray]:
    """Every tensor of nested dictionaries, by its dotted name."""
    if not isinstance(content, Mapping):
        raise Refused("it does not hold a dictionary of tensors")
    found: dict[str, np.ndarray] = {}
    buffers: dict[str, np.ndarray] = {}
    for name, tensor in _tensors(content, "", 1, set()):
        stored = tensor.stored
        if stored.key not in buffers:
            buffers[stored.key] = np.frombuffer(numbers(stored), stored.dtype)
        found[name] = _view(tensor, buffers[stored.key])
    return found


def _tensors(
    content: Mapping[Any, Any], above: str, depth: int, seen: set[int]
) -> Iterator[tuple[str, Tensor]]:
    """Dotted names and tensors of nested dictionaries, each of which stands at one place only.

    One that stands twice in the next one, which does so again, and on, would never end.
    """
    if depth > DEEPEST or id(content) in seen:
        raise ValueError("too deep, or a dictionary at several places")
    seen.add(id(content))
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _tensors(value, f"{above}{name}.", depth + 1, seen)
        elif isinstance(value, Tensor):
            yield f"{above}{name}", value


def _view(tensor: Tensor, buffer: np.ndarray) -> np.ndarray:
    """What the tensor shows of its numbers, not to be written to; ValueError if it looks beyond.

    No copy: a small file can name the same numbers a million times.
    """
    sizes = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or not all(type(n) is int for n in sizes):
        raise ValueError(tensor)
    last = tensor.offset + sum(
        (n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True)
    )
    if min(sizes, default=0) < 0 or (0 not in tensor.shape and last >= len(buffer)):
        raise ValueError(tensor)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, buffer.dtype)
    strides = [step * buffer.itemsize for step in tensor.strides]
    # A view of few numbers may claim to be huge (stride 0): no network's weights are.
    if np.prod([float(n) for n in tensor.shape]) > len(buffer):
        raise ValueError(tensor)
    start = buffer[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.shape, strides, writeable=False)


# --- the pickle -----------------------------------------------------------------------------------


class Machine:
    """Carries out the instructions of one pickle that build plain values; refuses all others."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.stored: list[Stored] = []

    def run(self, file: BinaryIO) -> Any:
        """The value of the pickle that begins here; the file is then behind it."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count > MOST_STEPS:
                raise Refused("its pickle is longer than that of any network's weights")
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in PLAIN:
                self.stack.append(argument)
            elif opcode.name in ACTIONS:
                ACTIONS[opcode.name](self, argument)
            elif opcode.name not in ("PROTO", "FRAME"):
                raise Refused(f"its pickle has the instruction {opcode.name}")
        raise ValueError("no end")

    def above_mark(self) -> list[Any]:
        """Takes away what was put down since the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def tuple_of(self, count: int | None) -> None:
        """Joins the last values."""
        if count is None:
            values = self.above_mark()
        else:
            values = self.stack[len(self.stack) - count :]
            del self.stack[len(self.stack) - count :]
        self.stack.append(tuple(values))

    def named(self, module: str, name: str) -> None:
        """Puts down a class' name, of those that are known."""
        if f"{module}.{name}" not in CLASSES:
            raise Refused(f"its pickle names {module}.{name}, and only tensors are read")
        self.stack.append(Class(f"{module}.{name}"))

    def stack_named(self) -> None:
        """The same with the two parts of the name on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("no name")
        self.named(module, name)

    def persistent(self) -> None:
        """Puts down stored numbers: ("storage", type, key, device, count, ...)."""
        kind, type_, key, _, count, *view = self.stack.pop()
        if kind != "storage" or not isinstance(type_, Class) or (view and view[0] is not None):
            raise Refused("its pickle refers to something that is no plain storage of numbers")
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise ValueError("no storage")
        self.stack.append(Stored(key, TYPES[type_.name.removeprefix("torch.")], count))
        self.stored.append(self.stack[-1])

    def reduce(self) -> None:
        """Replaces a record's name and arguments by the record."""
        arguments, record = self.stack.pop(), self.stack.pop()
        name = record.name if isinstance(record, Class) else None
        if name == DICTIONARY and not arguments:
            self.stack.append({})
        elif name == PARAMETER and isinstance(arguments[0], Tensor):
            self.stack.append(arguments[0])
        elif name in TENSORS and isinstance(arguments[0], Stored):
            stored, offset, shape, strides = arguments[:4]
            if max(len(shape), len(strides)) > MOST_AXES:
                raise ValueError("no shape")
            self.stack.append(Tensor(stored, offset, tuple(shape), tuple(strides)))
        else:
            raise Refused("its pickle calls something that makes no tensor")

    def build(self) -> None:
        """Drops what the file would set on an object: PyTorch's notes on versions."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise Refused("its pickle sets the state of something that is no dictionary")

    def set_items(self, values: list[Any]) -> None:
        """Into the dictionary below them; a name is a text or a number.

        Tuples within tuples, each twice, would take for ever to be hashed or written out.
        """
        if not all(isinstance(name, str | int) for name in values[::2]):
            raise Refused("a dictionary of it has names that are no text")
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def keep(self, place: int | None) -> None:
        """Remembers the topmost value."""
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]


PLAIN = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING"),
}
ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "TUPLE": lambda m, _: m.tuple_of(None),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "APPEND": lambda m, _: m.stack[-2].append(m.stack.pop()),
    "APPENDS": lambda m, _: (values := m.above_mark(), m.stack[-1].extend(values)),
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.set_items(m.above_mark()),
    "BINPUT": lambda m, place: m.keep(place),
    "LONG_BINPUT": lambda m, place: m.keep(place),
    "MEMOIZE": lambda m, _: m.keep(None),
    "BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "LONG_BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "GLOBAL": lambda m, both: m.named(*both.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.stack_named(),
    "BINPERSID": lambda m, _: m.persistent(),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
}
