"""Every rule's conda environment declares what the rule's script imports, in the versions of the lock file."""

import ast
import re
import sys
from pathlib import Path

import pytest

from environments.declarations import CONDA_NAMES, DISTRIBUTIONS, ENVIRONMENTS, WITH_TORCH, declared, rules
from environments.import_closure import import_closure, walk_what_runs
from equinuclei.specs import ARCHITECTURES

ROOT = Path(__file__).parents[2]
# Name of an import -> name of its package on conda-forge, where they differ.
PACKAGES = {**CONDA_NAMES, "bioimageio": "bioimageio.core", "skimage": "scikit-image"}
# A function -> the package that its library imports when it is called.
ENGINES = {
    "read_parquet": "pyarrow",
    "to_parquet": "pyarrow",
    "TiffFile": "imagecodecs",
    "torch.onnx.export": "onnxscript",
}
LOCK = dict(
    re.match(r"([\w.-]+)(?:\[\w+\])?==([\w.]+)", line).groups()
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if "==" in line
)


def needed(script, environment):
    """Conda packages that a script needs, with all that it reaches: what is imported, and what calls make load."""
    by_name = [f"equinuclei/networks/{module}.py" for module, *_ in ARCHITECTURES.values()]
    names, packages = set(), set()
    for path in import_closure(ROOT, f"workflow/scripts/{script}.py", by_name if environment in WITH_TORCH else []):
        for node in walk_what_runs(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"  # import_closure knows none
                names.add(node.module.split(".")[0])
            elif isinstance(node, ast.Attribute):
                packages.update(ENGINES[name] for name in (node.attr, ast.unparse(node)) if name in ENGINES)
    return packages | {PACKAGES.get(name, name) for name in names - sys.stdlib_module_names - {"equinuclei"}}


@pytest.mark.parametrize("script, environment", rules().items())
def test_an_environment_declares_what_its_script_needs(script, environment):
    assert needed(script, environment) <= declared(environment).keys()


@pytest.mark.parametrize("environment", sorted(set(rules().values())))
def test_versions_are_those_of_the_lock(environment):
    for package, version in declared(environment).items():
        if package != "python":
            assert LOCK[DISTRIBUTIONS.get(package, package)] == version, package


def test_torch_is_in_the_environments_that_need_it_alone():
    assert {name for name in ENVIRONMENTS if "pytorch" in declared(name)} == WITH_TORCH


def test_every_environment_is_used_and_declares_nothing_else():
    used = {environment: {"python"} for environment in ENVIRONMENTS}
    for script, environment in rules().items():
        used[environment] |= needed(script, environment)
    assert {environment: declared(environment).keys() for environment in ENVIRONMENTS} == used


def test_the_workflow_is_parsed_with_what_snakemake_brings():
    modules = import_closure(ROOT, "equinuclei/config/study.py", ["equinuclei/runtime/equivalent_code.py"])
    found = set()
    for path in modules:
        for node in ast.parse(path.read_text()).body:  # only what runs at import
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
    assert ROOT / "equinuclei/specs.py" in modules
    assert found - sys.stdlib_module_names <= {"equinuclei", "jsonschema"}


def test_the_page_on_environments_names_all_of_them_and_those_with_torch():
    rows = re.findall(r"^\| `(\w+)`( \*)? \|", (ROOT / "docs/environments.md").read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == set(ENVIRONMENTS)
    assert {name for name, with_torch in rows if with_torch} == WITH_TORCH
