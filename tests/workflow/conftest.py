"""Snakemake as a user calls it, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

TINY = {
    "datasets": [
        {
            "name": "tiny",
            "source": {
                "layout": "simulated",
                "fields_per_cell_line": 4,
                "height": 72,
                "width": 90,
                "seed": 5,
            },
            "modalities": ["fluorescence"],
            "mask": {"kind": "three_class", "border_as": "background"},
            "split": [0.5, 0.25, 0.25],
        }
    ],
    "models": [
        {
            "name": "plain",
            "preset": "simplified",
            "widths": [8, 16, 16],
            "training": {"learning_rate": [0.004, 0.006], "tuning_epochs": 2},
            "inference": ["deployed", "exact", "canonical", "tta4", "tta8"],
        },
        {"name": "turning", "preset": "simplified-p4", "widths": [4, 8, 8]},
    ],
    "training": {
        "epochs": 12,
        "crop": 64,
        "batch_size": 2,
        "learning_rate": 0.005,
        "schedule": "cosine",
        "device": "cpu",
        "torch_threads": 1,
    },
    "evaluation": {"mirrored": True, "inference": ["deployed", "exact"], "examples": 2},
}


def snakemake(folder: Path, *arguments: str, config: dict = TINY, check: bool = True) -> subprocess.CompletedProcess:
    """Run snakemake on the project with `folder` as working directory; standard error is merged into the output."""
    configfile = folder / "study.yaml"
    configfile.write_text(yaml.safe_dump(config))
    profile = ROOT / "profiles/default"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--workflow-profile", str(profile), "--configfile", str(configfile), "--cores", "2", *arguments]
    run = subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "CI": ""}
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
