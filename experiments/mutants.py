"""Small changes of a source file, each of which the tests should notice: mutmut's operators.

Here mutmut (3.8) only says what is changed: numbers, operators, arguments left out or None,
conditions, names. Its own runner chooses a mutant's tests by the functions that they called, which
a compiled JAX function hides, and leaves the constants of a module alone: `mutation` runs them.
"""

import ast
import difflib
import hashlib
import pathlib
from typing import NamedTuple


class Mutant(NamedTuple):
    """One change of one module."""

    module: str  # its path in the checkout
    function: str  # "" at the top of the module
    line: int  # the first that differs, from 1
    before: str  # the lines that differ, without what indents them
    after: str
    source: str  # the whole module, changed

    @property
    def name(self) -> str:
        """What stays the same when lines above are added or removed."""
        return f"{self.module}: {self.function}: {self.before} -> {self.after}"


def make(root: pathlib.Path, module: str) -> tuple[list[Mutant], int]:
    """The mutants of a module, in the order of its lines, and how many changes were left out.

    Left out is what no test could notice: `__all__` and names that stand for types. Annotations,
    docstrings, decorated functions, `len` and `isinstance` mutmut leaves alone by itself.
    """
    import libcst
    from mutmut.mutation.file_mutation import MutationVisitor
    from mutmut.mutation.mutators import mutation_operators
    from mutmut.mutation.pragma_handling import IgnoredCode

    source = (root / module).read_text()
    visitor = MutationVisitor(mutation_operators, IgnoredCode(set(), set(), set()))
    tree = libcst.metadata.MetadataWrapper(libcst.parse_module(source)).visit(visitor)
    ignored, known = _unnoticeable(source), {source}
    found, left_out = [], 0
    for change in visitor.mutations:
        function = change.contained_by_top_level_function
        changed = tree.deep_replace(change.original_node, change.mutated_node).code
        if changed in known:  # the same by another operator
            continue
        known.add(changed)
        line, before, after = _difference(source, changed)
        if line in ignored:
            left_out += 1
        else:
            name = function.name.value if isinstance(function, libcst.FunctionDef) else ""
            found.append(Mutant(module, name, line, before, after, changed))
    return sorted(found, key=lambda mutant: mutant.line), left_out


def fingerprint(source: str) -> str:
    """A hash of what a module does: comments, docstrings and its layout do not count."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _unnoticeable(source: str) -> set[int]:
    """Lines of `__all__` and of names for types, such as `Params = Any`."""
    lines = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            target = node.targets[0].id if isinstance(node.targets[0], ast.Name) else ""
            a_type = isinstance(node.value, ast.Subscript | ast.Name) and target[:1].isupper()
            if target == "__all__" or a_type:
                lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines


def _difference(source: str, changed: str) -> tuple[int, str, str]:
    """The first line that differs, what it and the next ones were, and what they are."""
    old, new = source.splitlines(), changed.splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    blocks = [block for block in blocks if block[0] != "equal"]
    (_, start, _, first, _), (_, _, stop, _, last) = blocks[0], blocks[-1]
    before = " ".join(line.strip() for line in old[start:stop])
    after = " ".join(line.strip() for line in new[first:last])
    return start + 1, before, after
