"""The files that a script makes Python read: what an environment must hold packages for."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path


def import_closure(root: Path, entry: str, extra: Iterable[str] = ()) -> list[Path]:
    """`<root>/<entry>`, the files `extra`, and all that they import below `root`, sorted.

    The digest of the code follows names, and so less: an import runs the whole file.
    """
    found: set[Path] = set()
    queue = [root / entry, *(root / name for name in extra)]
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            queue.extend(_imports(root, path))
    return sorted(found)


def _imports(root: Path, path: Path) -> set[Path]:
    """Files below `root` that one file imports, the packages' `__init__.py` among them."""
    names = set()
    for node in walk_what_runs(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    files = set()
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            module = root.joinpath(*parts[:depth])
            files.update(f for f in (module.with_suffix(".py"), module / "__init__.py") if f.is_file())
    return files


def walk_what_runs(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a syntax tree, but for what stands under `if TYPE_CHECKING`."""
    yield node
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    for child in ast.iter_child_nodes(node):
        yield from walk_what_runs(child)
