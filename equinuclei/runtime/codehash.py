"""Digest of the code that a rule depends on: its script and everything that it imports from this library.

Snakemake notices a changed script, but neither a changed library module nor that a change was only a comment. This
digest covers syntax trees, so comments, docstrings and formatting do not count.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path


def code_digest(scripts: Path, entry: str, extra: Iterable[str] = ()) -> str:
    """Digest of the syntax trees of `scripts/<entry>` and of its transitive imports inside `scripts`.

    extra : further files, relative to `scripts`, that are imported by name at run time.
    """
    summary = hashlib.sha256()
    for path in import_closure(scripts, entry, extra):
        summary.update(path.relative_to(scripts).as_posix().encode())
        summary.update(_tree_digest(path))
    return summary.hexdigest()[:16]


def import_closure(scripts: Path, entry: str, extra: Iterable[str] = ()) -> list[Path]:
    """`scripts/<entry>`, the files `extra`, and all that they import inside `scripts`, sorted."""
    found: set[Path] = set()
    queue = [scripts / entry, *(scripts / name for name in extra)]
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            queue.extend(_imports(scripts, path))
    return sorted(found)


@cache
def _syntax_tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _tree_digest(path: Path) -> bytes:
    tree = _syntax_tree(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).digest()


@cache
def _imports(scripts: Path, path: Path) -> tuple[Path, ...]:
    """Files inside `scripts` that one file imports, the packages' `__init__.py` among them."""
    names = set()
    for node in _walk_what_runs(_syntax_tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    files = set()
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            module = scripts.joinpath(*parts[:depth])
            files.update(f for f in (module.with_suffix(".py"), module / "__init__.py") if f.is_file())
    return tuple(sorted(files))


def _walk_what_runs(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a syntax tree, but for what stands under `if TYPE_CHECKING`."""
    yield node
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    for child in ast.iter_child_nodes(node):
        yield from _walk_what_runs(child)
