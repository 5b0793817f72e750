"""Every rule in its own conda environment, started from an environment that holds Snakemake alone.

Conda's solver and installer are real, the channel is packed from the packages installed here (`channel.py`). What each
script imports is recorded (`record_imports.py`) and must come from its rule's own environment.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml

from environments.declarations import ENVIRONMENTS, ROOT, WITH_TORCH, declared, rules
from equinuclei.checksums import digest, sha256
from equinuclei.simulation.plates import simulate_plate

HERE = Path(__file__).parent
TOOLS = ROOT / ".venv-conda"
# Packages that use another one where it is there and do without it where it is not, and so take Snakemake's.
OPTIONAL = {("dask", "jinja2"), ("dask", "psutil"), ("torch", "tabulate"), ("numpy", "charset_normalizer")}
OPTIONAL |= {("rich", "attr")}

PYTHON = declared("training")["python"]

# `tests/unit/test_environments.py` reads every time what is declared, and what every script imports.
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        not (TOOLS / ".ready").exists(),
        reason="the stand-in for conda is not installed: `make conda-test` installs it and runs these tests",
    ),
    pytest.mark.skipif(
        sysconfig.get_python_version() != PYTHON,
        reason=f"the environments have Python {PYTHON}, and the stand-in for conda has the one that runs the tests",
    ),
]


class Conda:
    """A stand-in for an installed conda, and an environment `launcher` that holds Snakemake alone.

    `folder` is kept for later runs; it is named after what the channel is packed from, and takes the place of others.
    """

    def __init__(self) -> None:
        folder = TOOLS / f"test-{state_of_packages()[:12]}"
        self.root, self.launcher, channel = folder / "conda", folder / "launcher", folder / "channel"
        program = self.root / "bin/conda"
        self.variables = {
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "HOME": os.environ["HOME"],
            "CONDA_ROOT": str(self.root),
            "CONDA_CHANNEL": channel.as_uri(),
        }
        if (folder / "complete").exists():
            return
        for old in TOOLS.glob("test-*"):
            shutil.rmtree(old)
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec "{TOOLS}/bin/python" "{HERE}/frontend.py" "$@"\n')
        program.chmod(0o755)
        (self.root / "bin/activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
        command = [TOOLS / "bin/python", HERE / "channel.py", sysconfig.get_path("purelib"), channel]
        subprocess.run(command, check=True)
        file = folder / "launcher.yaml"
        file.write_text("dependencies: [python =3, snakemake]\n")
        command = [program, "env", "create", "--file", file, "--prefix", self.launcher]
        subprocess.run(command, check=True, env=self.variables)
        (folder / "complete").touch()

    def snakemake(self, project: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run snakemake in a copy of the project; imports are recorded in its folder `records`."""
        records = project / "records"
        shutil.rmtree(records, ignore_errors=True)
        records.mkdir()
        command = [self.launcher / "bin/python", "-m", "snakemake", *arguments, "--configfile", "lab.yaml"]
        variables = {**self.variables, "RECORD_IMPORTS": str(records)}
        run = subprocess.run([*command, "--cores", "2"], cwd=project, env=variables, text=True, capture_output=True)
        assert not check or run.returncode == 0, run.stdout + run.stderr
        return run

    @property
    def prefix(self) -> tuple[str, ...]:
        """Options of snakemake: conda, with environments that all copies of the project share."""
        return "--software-deployment-method", "conda", "--conda-prefix", str(self.root / "envs")

    def folder_of(self, environment: str) -> Path:
        """The environment that Snakemake made of a file of `envs/`."""
        copies = [path for path in (self.root / "envs").glob("*.yaml") if is_copy(path, ENVIRONMENTS[environment])]
        assert len(copies) == 1, copies
        return copies[0].with_suffix("")

    def packages(self, environment: str) -> set[str]:
        """Names of the packages in an environment."""
        metadata = self.folder_of(environment).glob("conda-meta/*.json")
        return {json.loads(path.read_text())["name"] for path in metadata}


def state_of_packages() -> str:
    """Digest of what is installed here, where, and of the code that packs it."""
    installed = sorted(f"{found.name}=={found.version}" for found in distributions())
    code = [sha256(HERE / name) for name in ("channel.py", "record_imports.py", "frontend.py")]
    return digest([str(ROOT), sys.version, sysconfig.get_path("purelib"), *installed, *code])


def is_copy(path: Path, source: Path) -> bool:
    return path.read_bytes() == source.read_bytes()


def copy_project(folder: Path) -> Path:
    folder.mkdir()
    for name in ("Snakefile", "Makefile", "equinuclei", "scripts", "workflow", "config", "profiles", "envs"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.pin.txt", "__pycache__"))
        else:
            shutil.copy2(source, folder)
    tiny = yaml.safe_load((ROOT / "config/tiny.yaml").read_text())
    tuned = {"learning_rate": [0.004, 0.006], "tuning_epochs": 1}
    tiny["models"] = [{"name": "turning", "preset": "simplified-p4", "widths": [4, 8, 8], "training": tuned}]
    tiny["contrasts"] = []
    tiny["learning_curve"] = {"models": ["turning"], "groups": [4]}
    tiny["leave_one_cell_line_out"] = {"models": ["turning"], "cell_lines": ["HeLa"]}
    tiny["training"]["epochs"] = 1
    tiny["evaluation"]["mirrored"] = False
    weights = "results/tiny/models/turning/fluorescence/seed0/weights.safetensors"
    tiny["plates"] = {"inbox": "inbox", "results": "plates", "model": weights, "channel": "DAPI", "device": "cpu"}
    tiny["plates"] |= {"threads": 1, "quiet_minutes": 0, "parts": 2}
    (folder / "lab.yaml").write_text(yaml.safe_dump(tiny))
    return folder


def read_records(project: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((project / "records").iterdir())]


def foreign_imports(record: dict, project: Path, launcher: Path) -> list[str]:
    """What a script took from elsewhere than its own environment, the project and the standard library.

    Snakemake loads itself, and what it needs, from its own environment `launcher`.
    """
    launched, own, standard = launcher / "lib", Path(record["prefix"]) / "lib", Path(record["standard_library"])
    found, allowed = [], {"snakemake"}
    for source, file in record["imports"]:
        importer, target = Path(source), Path(file)
        if not target.is_relative_to(launched) or importer.is_relative_to(standard):
            continue
        package = package_of(target, launched)
        preamble = importer.is_relative_to(project / ".snakemake/scripts") and package == "snakemake"
        optional = importer.is_relative_to(own) and (package_of(importer, own), package) in OPTIONAL
        if preamble or optional or importer.is_relative_to(launched):
            allowed.add(package)
        else:
            found.append(f"{source} imports {file}")
    for name, file in record["modules"].items():
        path = Path(file)
        if path.is_relative_to(launched):
            known = package_of(path, launched) in allowed
        else:
            homes = own, project / "equinuclei", project / "workflow/scripts", standard
            known = not path.is_absolute() or any(map(path.is_relative_to, homes))
        if not known:
            found.append(f"{name} is {file}")
    return found


def package_of(path: Path, library: Path) -> str:
    """Name of the package of a module in `library`, the folder `lib` of an environment."""
    return path.relative_to(library).parts[2].partition(".")[0]  # python3.x, site-packages, package


@pytest.fixture(scope="module")
def conda():
    return Conda()


@pytest.fixture(scope="module")
def lab(conda, tmp_path_factory):
    """A copy of the project with a study, exported networks and a plate; and a record of every job."""
    project = copy_project(tmp_path_factory.mktemp("lab") / "project")
    simulate_plate(project / "inbox/SIM", project / "truth", barcode="SIM", wells=["A01"], fields=1, size=96, seed=3)
    records = []
    scan_again = ["scan_plates", "--forcerun", "scan_plates"]
    for arguments in (["study"], ["export", "train_shipped", "scan_plates"], scan_again, ["plates"], ["overview"]):
        conda.snakemake(project, *arguments, *conda.prefix)
        records += read_records(project)
    return project, records


@pytest.fixture
def copy(lab, tmp_path):
    """A copy of the lab, which the test may edit."""
    return shutil.copytree(lab[0], tmp_path / "project")


def test_every_rule_takes_its_modules_from_its_own_environment(conda, lab):
    project, records = lab
    assert {record["rule"] for record in records} == rules().keys()
    assert not [line for record in records for line in foreign_imports(record, project, conda.launcher)]
    homes = {record["rule"]: Path(record["prefix"]).with_suffix(".yaml") for record in records}
    for rule, environment in rules().items():
        assert is_copy(homes[rule], ENVIRONMENTS[environment])


def test_torch_is_installed_and_loaded_where_it_is_needed_alone(conda, lab):
    _, records = lab
    assert {name for name in ENVIRONMENTS if "pytorch" in conda.packages(name)} == WITH_TORCH
    loaded = {record["rule"] for record in records if "torch" in record["modules"]}
    assert loaded == {rule for rule, environment in rules().items() if environment in WITH_TORCH}


def test_environments_share_the_files_of_their_packages(conda, lab):
    """By hard links: every file of PyTorch is on the disk once, however many environments have it."""
    environments = {name: conda.folder_of(name) for name in WITH_TORCH}
    files = [
        {path.relative_to(root): path for path in root.glob("lib/python*/site-packages/torch/**/*.py")}
        for root in environments.values()
    ]
    assert len(files[0]) > 1000
    for relative, path in files[0].items():
        assert {other[relative].stat().st_ino for other in files} == {path.stat().st_ino}, relative


def drop(project: Path, environment: str, *packages: str) -> None:
    path = project / "envs" / f"{environment}.yaml"
    declaration = yaml.safe_load(path.read_text())
    kept = [line for line in declaration["dependencies"] if line.split()[0] not in packages]
    assert len(kept) == len(declaration["dependencies"]) - len(packages)
    path.write_text(yaml.safe_dump({**declaration, "dependencies": kept}))


def test_a_missing_dependency_fails_its_rule(conda, copy):
    drop(copy, "statistics", "pyarrow")  # pandas loads it for a parquet file
    target = "results/tiny/tables/f1.tsv"
    arguments = [target, "--forcerun", "aggregate_f1", "--rerun-triggers", "mtime", *conda.prefix]
    run = conda.snakemake(copy, *arguments, check=False)
    assert run.returncode == 1 and "pyarrow" in run.stderr, run.stderr


def test_a_missing_dependency_that_snakemake_happens_to_bring_is_found(conda, copy):
    drop(copy, "plates", "jinja2", "markupsafe")
    arguments = ["plates", "--forcerun", "report_plate", "--rerun-triggers", "mtime", *conda.prefix]
    conda.snakemake(copy, *arguments)
    (record,) = read_records(copy)
    found = foreign_imports(record, copy, conda.launcher)
    assert any("page.py imports" in line and "jinja2" in line for line in found), found


def dry_run(conda, project: Path, *arguments: str) -> str:
    return conda.snakemake(project, "study", "--dry-run", *arguments).stdout


def test_one_way_is_chosen_per_results_folder(conda, lab, tmp_path):
    project, _ = lab
    assert "Nothing to be done" in dry_run(conda, project, *conda.prefix)
    for other in ([], ["--software-deployment-method", "conda", "--conda-prefix", str(tmp_path)]):
        assert "software environment definition has changed" in dry_run(conda, project, *other)
        assert "Nothing to be done" in dry_run(conda, project, *other, "--rerun-triggers", "mtime", "params", "input")


def test_pins_are_made_by_make_and_used_by_snakemake(conda, copy, tmp_path):
    (copy / ".venv-conda").symlink_to(TOOLS)
    shutil.copytree(HERE, copy / "tests/environments")
    os.utime(copy / "tests/environments/requirements.txt", (0, 0))
    command = ["make", "pins", "ENVIRONMENTS=envs/statistics.yaml"]
    run = subprocess.run(command, cwd=copy, env=conda.variables, text=True, capture_output=True)
    assert run.returncode == 0, run.stdout + run.stderr
    pins = copy / "envs/statistics.linux-64.pin.txt"
    lines = pins.read_text().splitlines()
    assert "@EXPLICIT" in lines and any("/linux-64/pyarrow-" in line for line in lines)

    pins.write_text("\n".join(line for line in lines if "pyarrow" not in line) + "\n")
    target = "results/tiny/tables/f1.tsv"
    environments = tmp_path / "environments"
    arguments = ["--software-deployment-method", "conda", "--conda-prefix", str(environments)]
    run = conda.snakemake(copy, target, *arguments, "--conda-create-envs-only")
    assert f"Using pinnings from {pins}" in run.stderr.replace("workflow/rules/../../", "")
    (prefix,) = [path.with_name(path.name.removesuffix(".pin.txt")) for path in environments.glob("*.pin.txt")]
    names = {path.name.rsplit("-", 2)[0] for path in prefix.glob("conda-meta/*.json")}
    assert "pandas" in names and "pyarrow" not in names  # though statistics.yaml names it
    assert "software environment definition has changed" in dry_run(conda, copy, *conda.prefix)


@pytest.mark.parametrize("form, copied", [("dockerfile", "COPY {} "), ("apptainer", "    {} ")])
def test_a_container_holds_every_environment(conda, copy, form, copied):
    definition = conda.snakemake(copy, "--containerize", form).stdout
    for environment in ENVIRONMENTS:
        assert copied.format(f"envs/{environment}.yaml") in definition
    assert definition.count("conda env create --prefix /conda-envs/") == len(ENVIRONMENTS)
