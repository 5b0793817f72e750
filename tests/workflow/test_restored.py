"""Files that come back with another time: the same bytes compute nothing, others do."""

import os
import shutil

import pytest
from conftest import planned_jobs, snakemake

from project_copy import ROOT

SIZE = 3_000_000  # above Snakemake's own limit for checksums
LARGE = f"""
rule use:
    input: "weights"
    output: "scores"
    shell: "cp {{input}} {{output}}"

rule train:
    output: "weights"
    shell: "head --bytes {SIZE} /dev/zero > {{output}}"
"""


def restore(path, content=None):
    """Put a file back, with the time of now, as from a backup that keeps no times."""
    kept = path.read_bytes()
    path.unlink()
    path.write_bytes(kept if content is None else content)


def test_restored_files_of_a_study_rerun_nothing(study, tmp_path):
    shutil.copytree(study[0], tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "results/tiny"
    run = folder / "models/turning/fluorescence/seed0"
    inputs = [run / name for name in ("weights.safetensors", "run.json", "predictions.tsv", "scores.parquet")]
    inputs += [folder / name for name in ("fields.tsv", "splits.tsv", "tables/f1.tsv", "tables/provenance.json")]
    for path in inputs:
        restore(path)
    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run", "study").stdout
    restore(inputs[0], inputs[0].read_bytes() + b"\0")
    jobs = planned_jobs(snakemake(tmp_path, "--dry-run", "study"))
    assert jobs["predict_test"] == jobs["record_provenance"] == 1 and "train_model" not in jobs


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_restored_weights_of_any_size_rerun_nothing(profile, tmp_path):
    (tmp_path / "Snakefile").write_text(LARGE)
    shutil.copytree(ROOT / "profiles" / profile, tmp_path / "profile")
    options = ["--snakefile", str(tmp_path / "Snakefile"), "--workflow-profile", str(tmp_path / "profile")]
    options += ["--executor", "local", "--cores", "1"]
    snakemake(tmp_path, "use", *options, config={})
    os.utime(tmp_path / "scores", (10**9, 10**9))
    restore(tmp_path / "weights")
    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run", "use", *options, config={}).stdout
    restore(tmp_path / "weights", b"1" * SIZE)
    assert planned_jobs(snakemake(tmp_path, "--dry-run", "use", *options, config={})) == {"use": 1}
