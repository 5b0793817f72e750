"""Snakemake as a user calls it, in a folder of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import yaml

from project_copy import ROOT, project

HERE = Path(__file__).parent
TINY = yaml.safe_load((ROOT / "config/tiny.yaml").read_text())
WEIGHTS = "results/tiny/models/turning/fluorescence/seed0/weights.safetensors"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile`, one worker runs all tests of the workflow, which share a study.

    (pytest-xdist 3.8 does not see its own groups, `--dist loadgroup`, under pytest 9.2.)
    """
    from xdist.scheduler import LoadFileScheduling

    class OneStudy(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "workflow" if file.startswith("tests/workflow/") else file

    return OneStudy(config, log) if config.getvalue("dist") == "loadfile" else None


@cache
def loaded() -> dict[str, str]:
    """Variables of a process whose command `snakemake` is that of `loaded.py`, which ends with the tests."""
    path = Path(tempfile.mkdtemp(prefix="equinuclei-")) / "socket"
    command = [sys.executable, "-P", HERE / "loaded.py", path]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    programs = f"{HERE / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"LOADED": str(path), "PATH": programs}


def snakemake(
    folder: Path,
    *arguments: str,
    config: dict = TINY,
    check: bool = True,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Run snakemake on the copied project with `folder` as working directory; both streams are merged.

    environment : variables that are set for it.
    """
    configfile = folder / "study.yaml"
    configfile.write_text(yaml.safe_dump(config))
    profile = project() / "profiles/default"
    command = [HERE / "bin/snakemake", "--snakefile", project() / "Snakefile", "--directory", folder]
    command += ["--workflow-profile", profile, "--configfile", configfile, "--cores", "2", *arguments]
    variables = {**os.environ, **loaded(), "CI": "", **(environment or {})}
    run = subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables
    )
    assert not check or run.returncode == 0, run.stdout
    return run


def planned_jobs(run: subprocess.CompletedProcess) -> dict[str, int]:
    """Jobs per rule from the table that a dry run prints."""
    lines = run.stdout.splitlines()
    starts = [number for number, line in enumerate(lines) if line.split() == ["job", "count"]]
    if not starts:
        return {}
    counts = {}
    for line in lines[starts[0] + 2 :]:
        if not line.strip() or line.split()[0] == "total":
            break
        rule, count = line.split()
        counts[rule] = int(count)
    return counts


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> tuple[Path, str]:
    """Folder and output of one tiny study, run once for all tests."""
    folder = tmp_path_factory.mktemp("study")
    run = snakemake(folder, "study")
    return folder, run.stdout


@pytest.fixture(scope="session")
def trained(request, tmp_path_factory) -> Path:
    """Folder in which the data of the tiny study are prepared and its model `turning` is trained.

    A copy of the study, where other tests need that anyway.
    """
    folder = tmp_path_factory.mktemp("trained")
    if any("study" in item.fixturenames for item in request.session.items):
        study, _ = request.getfixturevalue("study")
        shutil.copytree(study, folder, dirs_exist_ok=True)
    else:
        snakemake(folder, WEIGHTS)
    return folder


@contextmanager
def small_disk(folder, megabytes):
    """A file system of its own at `folder`. The test is skipped where only the administrator may mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
