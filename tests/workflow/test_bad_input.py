"""A user's mistake: one clear message, exit status 1, no traceback, nothing half-written."""

import copy

import numpy as np
import pytest
import tifffile
from conftest import TINY, snakemake


def refused(folder, config, *arguments):
    run = snakemake(folder, *(arguments or ("study",)), config=config, check=False)
    assert run.returncode == 1, run.stdout
    assert "Traceback" not in run.stdout, run.stdout
    return run.stdout


@pytest.mark.parametrize(
    "change, message",
    [
        ({"models": ["simplified-p5"]}, "unknown model 'simplified-p5'. Did you mean 'simplified-p4'?"),
        ({"evaluation": {"mirored": True}}, "evaluation: unknown key 'mirored' (did you mean 'mirrored'?)"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_before_any_job(tmp_path, change, message):
    output = refused(tmp_path, {**copy.deepcopy(TINY), **change})
    assert message in output
    assert not (tmp_path / "results").exists()


def test_data_that_are_not_there_are_told_and_nothing_is_trained(tmp_path):
    config = copy.deepcopy(TINY)
    config["datasets"][0]["source"] = {"layout": "table", "path": "imagse.tsv"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images.tsv").touch()
    output = refused(tmp_path, config)
    assert "imagse.tsv does not exist; did you mean 'images.tsv'?" in output
    assert not (tmp_path / "results" / "tiny").exists() or not list((tmp_path / "results" / "tiny").iterdir())


def test_a_mask_of_another_size_is_found_before_training(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / "data" / "set" / kind).mkdir(parents=True)
        for name in "ab":
            size = 40 if (kind, name) == ("masks", "b") else 64
            tifffile.imwrite(tmp_path / "data/set" / kind / f"{name}.tif", np.zeros((size, 64), np.uint8))
    config = copy.deepcopy(TINY)
    config["datasets"][0] |= {
        "source": {"layout": "folder", "path": "set", "modality": "fluorescence"},
        "mask": {"kind": "binary", "border_as": "nucleus"},
    }
    output = refused(tmp_path, config)
    assert "b.tif is 64 x 64 pixels, but its mask" in output and "40 x 64" in output
    assert not list((tmp_path / "results").rglob("*.zarr"))


def test_a_gpu_that_is_not_there_stops_training(tmp_path, study):
    folder, _ = study
    config = {**TINY, "training": {**TINY["training"], "device": "cuda"}}
    config["models"] = [{"name": "on-gpu", "preset": "simplified", "widths": [2, 4]}]
    target = "results/tiny/models/on-gpu/fluorescence/seed0/weights.safetensors"
    output = refused(folder, config, target)
    assert "this job sees no GPU" in output
    assert not (folder / target).exists()
