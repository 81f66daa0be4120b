"""Files that say what is on the images of a folder: CelebA's attribute list, or a CSV."""

import csv
import io
import os
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ivg.data.records import note, select_attributes
from ivg.errors import UserError

# Looked for in this order, the one nearest to the root first.
KNOWN_FILES = ("labels.csv", "list_attr_celeba.txt", "list_attr_celeba.csv")

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
        raise UserError(f"{source} is not UTF-8 text ({error}).") from error
    table = (_parse_csv if source.lower().endswith(".csv") else _parse_list)(text, source, wanted)
    twice = [file for file, count in Counter(table.files).items() if count > 1]
    if twice:
        raise UserError(f"{source} lists {len(twice)} files more than once (first: {twice[0]}).")
    return table


def _parse_list(text: str, source: str, wanted: Sequence[str]) -> LabelTable:
    """CelebA's list_attr_celeba.txt: number of images; attribute names; then name and 1 or -1."""
    lines = [(i, line.split()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if lines and len(lines[0][1]) == 1:
        lines = lines[1:]  # the number of images; the rows themselves are what counts
    if len(lines) < 2:
        raise UserError(
            f"{source} is not in CelebA's format (a line with the number of images, one with the "
            "attribute names, then one an image: its name and 1 or -1 for every attribute)."
        )
    names, rows = tuple(lines[0][1]), lines[1:]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{source} has the attribute {twice[0]!r} twice: rename or remove one.")
    for i, row in rows:
        if len(row) != len(names) + 1:
            raise UserError(
                f"{source}, line {i}: {len(row)} fields where a file name and {len(names)} "
                "attributes are expected."
            )
    _, kept = select_attributes(None, names, wanted, source)
    attributes = _binary(rows, {name: 1 + names.index(name) for name in kept}, source)
    return LabelTable(source, [row[0] for _, row in rows], None, attributes, kept)


def _parse_csv(text: str, source: str, wanted: Sequence[str]) -> LabelTable:
    """First column: file names; `label`: classes; every other column: an attribute (1, 0, -1)."""
    header_line = text.split("\n", 1)[0]
    delimiter = ";" if ";" in header_line and "," not in header_line else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    header = lines[0][1] if lines else []
    if len(header) < 2 or len(lines) < 2:
        raise UserError(
            f"{source} must have a header row (filename, then label and/or attribute columns) and "
            "a row for every image."
        )
    if len(set(header)) < len(header) or "" in header:
        raise UserError(f"{source}: the columns need different, non-empty names in the header row.")
    for i, row in lines[1:]:
        if len(row) != len(header):
            raise UserError(
                f"{source}, line {i}: {len(row)} fields where the header has {len(header)}."
            )
    rows = lines[1:]
    classes = None
    if _LABEL in header[1:]:
        column = header.index(_LABEL)
        classes = [row[column] for _, row in rows]
        if "" in classes:
            i = rows[classes.index("")][0]
            raise UserError(f"{source}, line {i}: the column {_LABEL!r} is empty.")
    known = [name for name in header[1:] if name != _LABEL]
    _, kept = select_attributes(None, known, wanted, source)
    columns = {name: header.index(name) for name in kept}
    attributes = _binary(rows, columns, source) if columns else None
    return LabelTable(source, [row[0] for _, row in rows], classes, attributes, kept)


def _binary(
    rows: Sequence[tuple[int, Sequence[str]]], columns: Mapping[str, int], source: str
) -> np.ndarray:
    """The cells of `columns` (name -> place), of rows with their line numbers: bool [R, A]."""
    values = np.empty((len(rows), len(columns)), bool)
    for r, (line, row) in enumerate(rows):
        for a, (name, column) in enumerate(columns.items()):
            if row[column] not in _BINARY:
                found = f"is {row[column]!r}" if row[column] else "is missing"
                raise UserError(
                    f"{source}, line {line}: the attribute {name!r} {found}; it must be 1, 0 or -1 "
                    f"(classes go into a CSV column called {_LABEL!r})."
                )
            values[r, a] = _BINARY[row[column]]
    return values


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
            f"{images[missing[0]]}): add their rows, or take the images out."
        )
    used, first, counts = np.unique(rows, return_index=True, return_counts=True)
    if (counts > 1).any():
        row = used[counts > 1][0]
        one, other = (images[i] for i in np.flatnonzero(rows == row)[:2])
        raise UserError(
            f"{table.source}: {table.files[row]} could be {one} or {other}; write the paths from "
            "the top folder."
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
    numeric = all(name.isdecimal() for name in distinct)
    names = sorted(distinct, key=(lambda name: (int(name), name)) if numeric else None)
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[name] for name in classes], np.int32), tuple(names)
