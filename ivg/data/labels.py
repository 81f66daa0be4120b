"""Files that say what is on the images of a folder: CelebA's attribute list, or a CSV."""

import csv
import io
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ivg.data.records import note, select_attributes, shown
from ivg.errors import UserError

# Looked for in this order, the one nearest to the root first.
KNOWN_FILES = ("labels.csv", "list_attr_celeba.txt", "list_attr_celeba.csv")

MAX_BYTES = 2**26  # of a label file; CelebA's has 25 MiB
_LABEL = "label"  # the CSV column that holds classes
_BINARY = {"1": True, "0": False, "-1": False}


class LabelTable(NamedTuple):
    """A parsed file: row r is about the image `files[r]`.

    Attributes:
        source: the file, for messages.
        files: R file names, as written (with or without folders).
        classes: R class names, or None.
        attributes: bool [R, A], or None; the columns that were asked for.
        attribute_names: A names.
    """

    source: str
    files: Sequence[str]
    classes: Sequence[str] | None
    attributes: np.ndarray | None
    attribute_names: tuple[str, ...]


def parse(data: bytes, source: str, wanted: Sequence[str] = ()) -> LabelTable:
    """Reads a label file: a CSV if its name ends so, else CelebA's format.

    Args:
        data: the content.
        source: the file, for messages.
        wanted: the attributes to read, in this order, so that what other columns hold does not
            matter; () reads all.

    Raises:
        UserError: names the file, the line and what is wrong with it, or an attribute it lacks.
    """
    try:
        text = data.decode("utf-8-sig")  # spreadsheet programs begin a CSV with a mark
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not UTF-8 text ({error}): save it as UTF-8.") from error
    table = (_parse_csv if source.lower().endswith(".csv") else _parse_list)(text, source, wanted)
    twice = [file for file, n in Counter(map(os.path.normpath, table.files)).items() if n > 1]
    if twice:
        raise UserError(
            f"{source} lists {len(twice)} files more than once (first: {shown(twice[0])})."
        )
    return table


def _parse_list(text: str, source: str, wanted: Sequence[str]) -> LabelTable:
    """CelebA's list_attr_celeba.txt: number of images; attribute names; then name and 1 or -1."""
    rows = ((i, row) for i, line in enumerate(text.splitlines(), 1) if (row := line.split()))
    line, first = next(rows, (0, []))
    count = first[0] if len(first) == 1 and first[0].isdecimal() else None
    names = first if count is None else next(rows, (0, []))[1]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise UserError(f"{source} has the attribute {shown(twice[0])!r} twice: rename one.")
    _, kept = select_attributes(None, names, wanted, source)
    columns = {name: 1 + names.index(name) for name in kept}
    what = f"a file name and {len(names)} attributes are expected"
    table = _read_rows(rows, columns, 1 + len(names), source, what)
    if not names or not table.files:
        raise UserError(
            f"{source} is not in CelebA's format (a line with the number of images, one with the "
            "attribute names, then one an image: its name and 1 or -1 for every attribute)."
        )
    if count is not None and count != str(len(table.files)):
        raise UserError(
            f"{source}, line {line}: it says {shown(count)} images, and {len(table.files)} follow; "
            "get the whole file, or remove this line if they are all."
        )
    return table


def _parse_csv(text: str, source: str, wanted: Sequence[str]) -> LabelTable:
    """First column: file names; `label`: classes; every other column: an attribute (1, 0, -1)."""
    header_line = text.split("\n", 1)[0]
    delimiter = ";" if ";" in header_line and "," not in header_line else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = ((reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row))
    try:
        _, header = next(rows, (0, []))
        if len(set(header)) < len(header) or "" in header:
            raise UserError(
                f"{source}: the columns need different, non-empty names in the header row."
            )
        known = [name for name in header[1:] if name != _LABEL]
        _, kept = select_attributes(None, known, wanted, source)
        columns = {name: header.index(name) for name in kept}
        label = header.index(_LABEL) if _LABEL in header[1:] else None
        what = f"the header has {len(header)}"
        table = _read_rows(rows, columns, len(header), source, what, label)
    except csv.Error as error:
        raise UserError(f"{source}, line {reader.line_num}: it is no CSV ({error}).") from error
    if len(header) < 2 or not table.files:
        raise UserError(
            f"{source} must have a header row (filename, then label and/or attribute columns) and "
            "a row for every image."
        )
    return table


def _read_rows(
    rows: Iterable[tuple[int, Sequence[str]]],
    columns: Mapping[str, int],
    width: int,
    source: str,
    what: str,
    label: int | None = None,
) -> LabelTable:
    """Takes from each row, with its line number, the file, the class and the wanted attributes.

    One row at a time: the split cells of all would take many times the memory of the file.
    """
    files, classes, values = [], [], bytearray()
    for line, row in rows:
        if len(row) != width:
            raise UserError(f"{source}, line {line}: {len(row)} fields where {what}.")
        files.append(row[0])
        if label is not None:
            if not row[label]:
                raise UserError(f"{source}, line {line}: the column {_LABEL!r} is empty.")
            classes.append(row[label])
        for name, column in columns.items():
            if row[column] not in _BINARY:
                found = f"is '{shown(row[column])}'" if row[column] else "is missing"
                raise UserError(
                    f"{source}, line {line}: the attribute '{shown(name)}' {found}; it must be 1, "
                    f"0 or -1 (classes go into a CSV column called {_LABEL!r})."
                )
            values.append(_BINARY[row[column]])
    attributes = np.frombuffer(values, bool).reshape(len(files), len(columns))
    return LabelTable(
        source,
        files,
        None if label is None else classes,
        attributes if columns else None,
        tuple(columns),
    )


def rows_of(table: LabelTable, images: Sequence[str], folder: str) -> np.ndarray:
    """The row of `table` for every image: int [N].

    A row names its image by the path from the root, by the path from `folder` (where the label
    file lies), or by the bare file name.

    Args:
        table: the parsed file.
        images: N paths from the root, with forward slashes.
        folder: as above; "" for the root.

    Raises:
        UserError: images without a row (how many, and the first), or two images for one row.
    """
    by_name = {os.path.normpath(file): row for row, file in enumerate(table.files)}
    rows = np.full(len(images), -1)
    for i, image in enumerate(images):
        near = os.path.relpath(image, folder) if folder else image
        for spelling in (image, near, pathlib.PurePosixPath(image).name):
            if spelling in by_name:
                rows[i] = by_name[spelling]
                break
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        raise UserError(
            f"{table.source} misses {len(missing)} of the {len(images)} images (first: "
            f"{shown(images[missing[0]])}): add their rows, or take the images out."
        )
    used, first, counts = np.unique(rows, return_index=True, return_counts=True)
    if (counts > 1).any():
        row = used[counts > 1][0]
        one, other = (images[i] for i in np.flatnonzero(rows == row)[:2])
        raise UserError(
            f"{table.source}: {shown(table.files[row])} could be {shown(one)} or {shown(other)}; "
            "write the paths from the top folder."
        )
    if len(used) < len(table.files):
        surplus = len(table.files) - len(used)
        note(f"{table.source} also lists {surplus} files that are not among the images.")
    return rows


def classes_from_folders(images: Sequence[str]) -> list[str] | None:
    """The class of every image, if the images lie in one subfolder per class; else None.

    The folders that all images share are looked through, as in `photos/cats/1.png`,
    `photos/dogs/1.png`.
    """
    folders = [pathlib.PurePosixPath(image).parent.parts for image in images]
    shared = len(os.path.commonprefix(folders))
    if any(len(parts) == shared for parts in folders):
        return None
    return [parts[shared] for parts in folders]


def encode_classes(classes: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class names to int32 [N] and the sorted names; numbers are sorted as numbers."""
    distinct = set(classes)
    numeric = all(name.isdecimal() and len(name) < 20 for name in distinct)
    names = sorted(distinct, key=(lambda name: (int(name), name)) if numeric else None)
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[name] for name in classes], np.int32), tuple(names)
