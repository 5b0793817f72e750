"""The files of the library, statement by statement."""

import ast
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from equinuclei.errors import InputError
from equinuclei.runtime.names import Import
from equinuclei.runtime.syntax import FUNCTIONS, imports_of, is_type_checking, stored_names

HARMLESS_DECORATORS = frozenset(
    {"abstractmethod", "asynccontextmanager", "cache", "cached_property", "classmethod", "contextmanager", "dataclass",
     "delayed", "final", "inference_mode", "lru_cache", "no_grad", "overload", "override", "property",
     "runtime_checkable", "setter", "staticmethod", "total_ordering", "unique", "wraps"}
)  # fmt: skip
"""Decorators that register nothing. A function or class with another one counts as soon as its module is imported."""

SCRIPT = "__script__"
"""Stands for the name of a module in the names of scripts."""

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_WITHOUT_BLOCKS = (*FUNCTIONS, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)


class Module:
    """One file: the statements of its top level by the names that they bind, and its imports."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source, filename=str(path))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path}: not readable as Python ({error}); mend or restore the file") from error
        self._lines = source.splitlines()
        self.nodes: list[ast.stmt] = []
        self.defines: dict[str, list[int]] = {}
        self.imports: dict[str, Import] = {}
        self.stars: list[str] = []
        self.imported: set[Import] = set()
        self._add(tree.body)

    def _add(self, statements: Iterable[ast.stmt]) -> None:
        for node in statements:
            if is_type_checking(node):
                self._add(node.orelse)
                continue
            self.nodes.append(node)
            for part in _of_top_level(node):
                if isinstance(part, ast.Import | ast.ImportFrom):
                    self._add_import(part)
                else:
                    for name in _binds(part):
                        self.defines.setdefault(name, []).append(len(self.nodes) - 1)

    def _add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            self.imported.update(Import(alias.name) for alias in node.names)
        for name, bound in imports_of(node, self.package):
            self.imported.add(bound)
            if name == "*":
                self.stars.append(bound.module)
            else:
                self.imports[name] = bound

    @cached_property
    def side_effects(self) -> list[int]:
        """The statements that may do more than bind names."""
        return [number for number, node in enumerate(self.nodes) if self._acts(node)]

    def _acts(self, node: ast.stmt) -> bool:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            return any(_is_decorated(part) for part in _definitions(node)) or _asks_metaclass(node)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return any(isinstance(p, ast.Attribute | ast.Subscript) for target in targets for p in ast.walk(target))
        if isinstance(node, ast.Expr):
            return not isinstance(node.value, ast.Constant)
        if isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__ == "):
            return self.name.startswith(SCRIPT)
        return bool(self.acting_imports(node)) or not isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)

    def acting_imports(self, node: ast.stmt) -> list[str]:
        """Modules that are imported for what they do then: unused ones, which the linter is told to pass (F401)."""
        if isinstance(node, ast.Import) and "F401" in self._lines[node.lineno - 1]:
            return [alias.name for alias in node.names]
        return []


def _of_top_level(node: ast.AST) -> Iterator[ast.AST]:
    """A statement of the top level and those in its blocks, but for what stands in functions and classes."""
    yield node
    if isinstance(node, _WITHOUT_BLOCKS):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case) and not is_type_checking(child):
            yield from _of_top_level(child)


def _binds(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds, blocks in it not counted."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.With | ast.AsyncWith):
        for item in node.items:
            if item.optional_vars is not None:
                yield from stored_names(item.optional_vars)
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from stored_names(target)
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.For | ast.AsyncFor):
        yield from stored_names(node.target)


def _definitions(node: _Definition) -> Iterator[_Definition]:
    """A function; or a class with its methods and the classes in it."""
    yield node
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, (*FUNCTIONS, ast.ClassDef)):
                yield from _definitions(part)


def _is_decorated(node: _Definition) -> bool:
    """Whether a decorator may register the function or class."""
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name not in HARMLESS_DECORATORS:
            return True
    return False


def _asks_metaclass(node: ast.stmt) -> bool:
    """Whether a class is made by more than `type`, or hands arguments to the classes that it inherits from."""
    keywords = node.keywords if isinstance(node, ast.ClassDef) else []
    return any(ast.unparse(keyword.value) not in ("ABCMeta", "abc.ABCMeta") for keyword in keywords)
