"""Syntax trees: what statements bind, import and run."""

import ast
from collections.abc import Iterator
from typing import TypeGuard

from equinuclei.runtime.names import Import

_OMITTED = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params", "annotation", "returns"})
_fields: dict[type[ast.AST], tuple[str, ...]] = {}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_LEAVES = frozenset({ast.Constant, ast.Pass, str, type(None), ast.alias})
_BINDERS = frozenset(
    {*FUNCTIONS, *COMPREHENSIONS, ast.ClassDef, ast.Lambda, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal,
     ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping, ast.If}
)  # fmt: skip


def imports_of(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Import]]:
    """The names that an import binds, and to what; `*` for everything. package : what a relative import begins at."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            first = alias.name.split(".")[0]
            yield alias.asname or first, Import(alias.name if alias.asname else first)
        return
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    for alias in node.names:
        yield alias.asname or alias.name, Import(module, alias.name)


def is_type_checking(node: ast.AST) -> TypeGuard[ast.If]:
    """Whether a statement is `if TYPE_CHECKING`, which does not run."""
    return isinstance(node, ast.If) and (
        (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")
        or (isinstance(node.test, ast.Attribute) and node.test.attr == "TYPE_CHECKING")
    )


def fields_of(kind: type[ast.AST]) -> tuple[str, ...]:
    """The fields of a kind of node that can decide something."""
    if kind not in _fields:
        _fields[kind] = tuple(name for name in kind._fields if name not in _OMITTED)
    return _fields[kind]


def stored_names(node: ast.AST) -> Iterator[str]:
    """The names that a target binds."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Tuple | ast.List):
        for part in node.elts:
            yield from stored_names(part)
    elif isinstance(node, ast.Starred):
        yield from stored_names(node.value)


def bound_names(
    function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, package: str
) -> dict[str, Import | None]:
    """The names of a function's own scope, and what is imported in it."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names: dict[str, Import | None] = {argument.arg: None for argument in every if argument}
    elsewhere: set[str] = set()
    queue: list = [function.body]
    while queue:
        node = queue.pop()
        if isinstance(node, list):
            queue.extend(node)
            continue
        kind = type(node)
        if kind is ast.Name:
            if type(node.ctx) is not ast.Load:
                names.setdefault(node.id)
            continue
        if kind in _LEAVES:
            continue
        if kind in _BINDERS:
            if kind is ast.Import or kind is ast.ImportFrom:
                names.update(imports_of(node, package))
                continue
            if kind is ast.Global or kind is ast.Nonlocal:
                elsewhere.update(node.names)
                continue
            if kind is ast.Lambda:
                continue
            if kind in COMPREHENSIONS:  # its names are its own, but for those bound by `:=`
                walk = (part for part in ast.walk(node) if isinstance(part, ast.NamedExpr))
                names.update((part.target.id, None) for part in walk)
                continue
            if kind is ast.If and is_type_checking(node):
                queue.append(node.orelse)
                continue
            name = getattr(node, "name", None) or getattr(node, "rest", None)
            if name:
                names.setdefault(name)
            if kind is ast.ClassDef or kind in FUNCTIONS:
                continue
        for field_name in fields_of(kind):
            value = getattr(node, field_name, None)
            if isinstance(value, ast.AST | list):
                queue.append(value)
    return {name: bound for name, bound in names.items() if name not in elsewhere}
