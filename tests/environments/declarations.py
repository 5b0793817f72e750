"""What the rules and the files of `envs/` declare."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = {path.stem: path for path in sorted((ROOT / "envs").glob("*.yaml"))}
WITH_TORCH = {"training", "prediction", "evaluation", "export", "segmentation"}
# Name of a distribution -> name of its package on conda-forge, where they differ.
CONDA_NAMES = {
    "bioimageio-core": "bioimageio.core",
    "bioimageio-spec": "bioimageio.spec",
    "dask": "dask-core",
    "matplotlib": "matplotlib-base",
    "torch": "pytorch",
}
DISTRIBUTIONS = {package: name for name, package in CONDA_NAMES.items()}


def rules() -> dict[str, str]:
    """Script, which is also the name, and environment of every rule."""
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    blocks = re.split(r"^ *rule ", text, flags=re.MULTILINE)[1:]
    return {
        re.search(r"scripts/(\w+)\.py", block)[1]: re.search(r"envs/(\w+)\.yaml", block)[1]
        for block in blocks
        if "script:" in block
    }


def declared(environment: str) -> dict[str, str]:
    """Conda packages that an environment file names, and the exact versions beside them; of Python, what is asked for.

    What is asked for, the first two numbers of each, is checked against them.
    """
    asked = yaml.safe_load(ENVIRONMENTS[environment].read_text())["dependencies"]
    lines = re.findall(
        r"^  - ([\w.-]+) =([\w.]+)(?:  # ([\w.]+))?$", ENVIRONMENTS[environment].read_text(), re.MULTILINE
    )
    assert [f"{package} ={version}" for package, version, _ in lines] == asked, environment
    exact = {package: pin or version for package, version, pin in lines}
    wrong = [
        package for package, version, pin in lines if package != "python" and version != ".".join(pin.split(".")[:2])
    ]
    assert not wrong, f"{environment}: {wrong}"
    return exact
