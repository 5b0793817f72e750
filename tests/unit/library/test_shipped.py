"""The models that come with the project: whole, small, told by their cards, and of use without any training."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from equinuclei.checksums import sha256
from equinuclei.cli import segment
from equinuclei.evaluation.accuracy import labels_of_rotations
from equinuclei.images.metrics import object_scores
from equinuclei.inference.nuclei import segment_image
from equinuclei.library.names import SHIPPED, WEIGHTS, known_models
from equinuclei.networks.checkpoint import load_model, read_metadata
from equinuclei.networks.folding import fold
from equinuclei.runtime.provenance import read_run
from equinuclei.simulation.fields import simulate_field
from equinuclei.specs import resolve_spec

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", known_models(SHIPPED))
def test_a_model_is_small_and_whole_and_its_card_is_about_it(name):
    weights, record = SHIPPED / name / WEIGHTS, read_run(SHIPPED / name / "run.json")
    card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
    assert weights.stat().st_size <= 10e6 and sha256(weights) in card
    assert load_model(weights).group == record["group"] != "trivial"
    certificate = read_metadata(weights)["equivariance"]
    assert certificate == record["equivariance"]
    assert {certificate["exact"][f"rotated_{degrees}"] for degrees in ("000", "090", "180", "270")} == {0}
    configured = re.search(r"--configfile (config/\S+\.yaml)", card).group(1)
    made = yaml.safe_load((ROOT / configured).read_text(encoding="utf-8"))
    entry = next(model for model in made["models"] if model["name"] == record["model"])
    assert resolve_spec({key: value for key, value in entry.items() if key != "name"}).to_dict() == record["spec"]
    assert {key: record["training"][key] for key in made["training"]} == made["training"]
    for told in ("Licence", "AP at IoU 0.5", "identical under quarter turns", "train_shipped"):
        assert told in card, told


def test_the_default_of_folders_and_plates_is_there():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    assert config["plates"]["model"] == segment.DEFAULT_MODEL
    assert {segment.DEFAULT_MODEL, "fluorescence-v2", "brightfield-v1"} <= set(known_models(SHIPPED))
    for name in re.findall(r"--model (\S+-v\d)", segment.EPILOG):
        assert name in known_models(SHIPPED)


@pytest.mark.parametrize("name", [segment.DEFAULT_MODEL, "fluorescence-v2"])
@pytest.mark.parametrize("line, times", [("HeLa", 1), ("A549", 1), ("NIH3T3", 1), ("HeLa", 3)])
def test_fluorescence_models_find_nuclei_that_they_have_never_seen(line, times, name):
    """Simulated ones, of another kind than those they learnt from; whichever way the image lies, however large."""
    field = simulate_field(line, 7, 240, 272)
    image = np.kron(field.images["fluorescence"], np.ones((times, times), np.uint16))
    truth = np.kron(field.instances, np.ones((times, times), int))
    network = fold(load_model(SHIPPED / name / WEIGHTS))
    found = segment_image(network, image)
    labels = found.labels
    assert object_scores(truth, labels, [0.5])["F1"].item() > 0.8
    assert found.probability[labels > 0].min() >= 0.5
    turned, identical = labels_of_rotations(network, image)
    assert identical and np.array_equal(turned > 0, labels > 0)
