"""Edits of the copied project: those that change no result, and those that can."""

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from project_copy import project

LOG_METHODS = ("debug", "info", "warning", "error")


@contextmanager
def edited(*edits: tuple[str, Callable[[str], str]]) -> Iterator[None]:
    """The copied project with files changed, within the block. edits : patterns of files, and what changes them."""
    before: dict[Path, str] = {}
    try:
        for pattern, change in edits:
            paths = sorted(project().glob(pattern))
            assert paths, pattern
            for path in paths:
                text = path.read_text()
                before.setdefault(path, text)
                path.write_text(change(text))
        yield
    finally:
        for path, text in before.items():
            path.write_text(text)


@contextmanager
def renamed_module(old: str, new: str) -> Iterator[None]:
    """The copied project with a module of the library at another place."""
    source, target = (project() / f"{name.replace('.', '/')}.py" for name in (old, new))

    def rename(text: str) -> str:
        (above, _, last), (above_new, _, last_new) = old.rpartition("."), new.rpartition(".")
        text = text.replace(f"from {above} import {last}\n", f"from {above_new} import {last_new} as {last}\n")
        return text.replace(old, new)

    with edited(("equinuclei/**/*.py", rename), ("workflow/scripts/*.py", rename)):
        source.rename(target)
        try:
            yield
        finally:
            target.rename(source)


def comments(text: str) -> str:
    """Another comment, and another layout."""
    return "# A comment.\n" + ast.unparse(ast.parse(text)) + "\n\n# Another.\n"


def docstrings(text: str) -> str:
    """Every docstring in other words."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0].value.value = "Other words."
    return ast.unparse(tree)


def annotations(text: str) -> str:
    """No function annotated."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree)


def messages(text: str) -> str:
    """Every error and log message with a mark more."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        called = getattr(node, "func", None)
        logs = isinstance(called, ast.Attribute) and called.attr in LOG_METHODS
        raises = isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        for part in ast.walk(node) if logs or raises else ():
            if isinstance(part, ast.JoinedStr | ast.Call):
                for value in getattr(part, "values", getattr(part, "args", ())):
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        value.value += "!"
    return ast.unparse(tree)


def unused(text: str) -> str:
    """One statement more, which nothing uses."""
    return text + "\n\nANOTHER = 1\n"


def statements(text: str) -> str:
    """Every function with a statement more, that changes no result: a refactoring."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body.insert(int(ast.get_docstring(node) is not None), ast.parse("len('')").body[0])
    return ast.unparse(tree)


def replaced(old: str, new: str) -> Callable[[str], str]:
    """A text that stands in the file, replaced."""

    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new)

    return change
