"""Every rule's conda environment declares what the rule's script imports, in the versions of the lock file."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

from equinuclei.codehash import import_closure
from equinuclei.models import ARCHITECTURES

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
# Name of an import -> name of its package on conda-forge, where they differ.
CONDA_NAMES = {
    "dask": "dask-core",
    "matplotlib": "matplotlib-base",
    "skimage": "scikit-image",
    "torch": "pytorch",
}
# conda-forge name -> name in the lock file.
LOCK_NAMES = {"dask-core": "dask", "matplotlib-base": "matplotlib", "pytorch": "torch"}
LOCK = dict(
    re.match(r"([\w.-]+)(?:\[\w+\])?==([\w.]+)", line).groups()
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if "==" in line
)


def rules():
    """Script and environment of every rule."""
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    blocks = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    return {
        re.search(r"scripts/(\w+)\.py", block)[1]: re.search(r"envs/(\w+)\.yaml", block)[1]
        for block in blocks
        if "script:" in block
    }


def declared(environment):
    lines = yaml.safe_load((ROOT / "envs" / f"{environment}.yaml").read_text())["dependencies"]
    return dict(re.fullmatch(r"([\w.-]+) =([\w.]+)", line).groups() for line in lines)


def imported(script):
    """Packages outside the standard library and the project that a script imports, its whole closure."""
    extra = [f"equinuclei/models/{module}.py" for module, *_ in ARCHITECTURES.values()] if "model" in script else []
    names = set()
    for path in import_closure(SCRIPTS, f"{script}.py", extra):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
    return {CONDA_NAMES.get(name, name) for name in names - sys.stdlib_module_names - {"equinuclei"}}


@pytest.mark.parametrize("script, environment", rules().items())
def test_an_environment_declares_what_its_script_imports(script, environment):
    assert imported(script) <= declared(environment).keys()


@pytest.mark.parametrize("environment", sorted(set(rules().values())))
def test_versions_are_those_of_the_lock(environment):
    for package, version in declared(environment).items():
        if package != "python":
            assert LOCK[LOCK_NAMES.get(package, package)] == version, package


def test_torch_is_in_the_environments_that_need_it_alone():
    with_torch = {path.stem for path in (ROOT / "envs").glob("*.yaml") if "pytorch" in declared(path.stem)}
    assert with_torch == {"training", "prediction", "export", "segmentation"}


def test_every_environment_is_used():
    assert {path.stem for path in (ROOT / "envs").glob("*.yaml")} == set(rules().values())


def test_the_workflow_is_parsed_with_what_snakemake_brings():
    modules = import_closure(SCRIPTS, "equinuclei/settings.py", ["equinuclei/codehash.py"])
    found = set()
    for path in modules:
        for node in ast.parse(path.read_text()).body:  # only what runs at import
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
    assert SCRIPTS / "equinuclei/models/__init__.py" in modules
    assert found - sys.stdlib_module_names <= {"equinuclei", "jsonschema"}
