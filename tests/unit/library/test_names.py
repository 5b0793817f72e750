"""A promoted model keeps its weights, tells what it is, and its name cannot be given twice."""

import json

import pytest
import torch

from equinuclei.checksums import sha256
from equinuclei.errors import InputError
from equinuclei.library import promotion
from equinuclei.library.names import WEIGHTS, find_weights, known_models, shipped_models
from equinuclei.library.promotion import promote_model
from equinuclei.networks.build import build_model
from equinuclei.networks.checkpoint import load_model, save_weights
from equinuclei.runtime.files import write_json
from equinuclei.specs import ModelSpec


@pytest.fixture(params=["p4", "trivial"])
def run(tmp_path, request):
    folder = tmp_path / "run"
    folder.mkdir()
    spec = ModelSpec("simplified", request.param, (2, 3))
    network = build_model(spec)
    save_weights(network, spec, folder / "weights.safetensors", network.certificate())
    record = {"spec": spec.to_dict(), "group": request.param, "parameters": 1234, "images": 5, "code_version": "1"}
    record |= {"dataset": "demo", "modality": "fluorescence", "training": {"epochs": 3}, "gflops": 1.5}
    write_json(folder / "run.json", record | {"train_seconds": 90.0, "hardware": {"processor": "a CPU"}})
    return folder


def test_a_promoted_model_is_found_by_its_name(tmp_path, run):
    library = tmp_path / "library"
    (run / "accuracy.md").write_text("AP at IoU 0.5: 0.9\n")
    folder = promote_model(run, "dapi-v1", library, notes="For DAPI at 20x.")
    weights = find_weights("dapi-v1", library)
    assert sha256(weights) == sha256(run / "weights.safetensors")
    assert known_models(library) == sorted({"dapi-v1"} | shipped_models())
    assert isinstance(load_model(weights), torch.nn.Module)
    card = (folder / "README.md").read_text()
    assert "For DAPI at 20x." in card and "1,234" in card and sha256(weights) in card
    assert "AP at IoU 0.5: 0.9" in card and "1.5 GFLOP" in card and "2 minutes on a CPU" in card
    assert all(path.stat().st_mode & 0o222 == 0 for path in folder.iterdir())
    assert find_weights(run, library) == find_weights(run / "weights.safetensors", library)


def test_a_name_means_one_model(tmp_path, run):
    promote_model(run, "dapi-v1", tmp_path)
    with pytest.raises(InputError, match=r"exists, and a name always means the same weights"):
        promote_model(run, "dapi-v1", tmp_path)


def test_a_name_that_another_job_gives_meanwhile_keeps_its_model(tmp_path, run, monkeypatch):
    def card(*_):
        (tmp_path / "dapi-v1").mkdir()
        (tmp_path / "dapi-v1" / "weights.safetensors").write_text("those of another")
        return "card"

    monkeypatch.setattr(promotion, "_card", card)
    with pytest.raises(InputError, match=r"exists, and a name always means the same weights"):
        promote_model(run, "dapi-v1", tmp_path)
    assert (tmp_path / "dapi-v1" / "weights.safetensors").read_text() == "those of another"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dapi-v1", "run"]


def test_an_interrupted_promotion_is_begun_again(tmp_path, run, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(promotion, "_card", fail)
        promote_model(run, "dapi-v1", tmp_path)
    (left,) = tmp_path.glob(".dapi-v1.work-*/*/weights.safetensors")
    left.chmod(0o444)
    assert sha256(promote_model(run, "dapi-v1", tmp_path) / WEIGHTS) == sha256(run / WEIGHTS)


def test_weights_and_record_of_two_trainings_are_no_model(tmp_path, run):
    record = json.loads((run / "run.json").read_text())
    write_json(run / "run.json", record | {"files": {WEIGHTS: "another checksum"}})
    with pytest.raises(InputError, match="of two trainings"):
        promote_model(run, "dapi-v1", tmp_path / "library")


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-v1", ".hidden", "a b", "x" * 99])
def test_unusable_names_are_refused(tmp_path, run, name):
    with pytest.raises(InputError, match="model name"):
        promote_model(run, name, tmp_path / "library")
    assert not (tmp_path / "library").exists()


def test_a_lab_cannot_reuse_the_name_of_a_model_that_comes_with_the_package(tmp_path, run):
    for name in shipped_models():
        with pytest.raises(InputError, match="comes with the package: choose another"):
            promote_model(run, name, tmp_path / "library")
    assert shipped_models() and not (tmp_path / "library").exists()


def test_a_model_that_is_not_there_is_told(tmp_path, run):
    with pytest.raises(InputError, match=r"no model is chosen: set `plates: {model: NAME}`; known are .*fluorescence"):
        find_weights(None, tmp_path / "library")
    with pytest.raises(InputError, match="unknown model 'dapi'"):
        find_weights("dapi", tmp_path / "library")
    promote_model(run, "dapi-v1", tmp_path / "library")
    with pytest.raises(InputError, match=r"unknown model 'dapi_v1'. Did you mean 'dapi-v1'"):
        find_weights("dapi_v1", tmp_path / "library")
    with pytest.raises(InputError, match="no weights there"):
        find_weights(tmp_path / "nowhere" / "w.safetensors", tmp_path / "library")
    with pytest.raises(InputError, match=r"run.json"):
        promote_model(tmp_path, "x", tmp_path / "library")
