"""The limits that keep the library readable: sizes of functions and modules, parameters of what rules call."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for folder in ("equinuclei", "workflow", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))
LONGEST_FUNCTION, LONGEST_MODULE, MOST_PARAMETERS = 60, 400, 8


def functions_called_by_rules():
    """(module, name) of the functions of the library that a rule's script calls."""
    found = set()
    for script in sorted((ROOT / "workflow/scripts").glob("*.py")):
        tree = ast.parse(script.read_text(encoding="utf-8"))
        imported = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module.startswith("equinuclei")
            for alias in node.names
        }
        called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "id")}
        found |= {imported[name] for name in called & imported.keys()}
    return sorted(
        (module, name) for module, name in found if inspect.isfunction(getattr(importlib.import_module(module), name))
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_function_is_too_long(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lengths = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_no_module_is_too_long():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in [*MODULES, *RULES]
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


@pytest.mark.parametrize("module, name", functions_called_by_rules())
def test_what_rules_call_has_few_parameters(module, name):
    called = getattr(importlib.import_module(module), name)
    assert len(inspect.signature(called).parameters) <= MOST_PARAMETERS
