"""Packages of the BioImage Model Zoo: what bioimageio.core itself says of them."""

import pytest
from bioimageio.core import test_model as check_model
from bioimageio.spec import load_model_description

from equinuclei.library.bioimage_zoo import MAPS, write_package
from equinuclei.library.export import export_model
from equinuclei.specs import TARGETS
from support.tiny_model import tiny_weights

ABOUT = {"licence": "CC0-1.0", "citation": "A. Author, A paper", "url": "https://doi.org/10.1038/s41592-019-0612-7"}


@pytest.mark.parametrize(
    "target, normalization, modality, about",
    [("distance", "standard", "fluorescence", ABOUT), ("binary", "percentile", "brightfield", {})],
)
def test_a_package_passes_the_test_of_bioimageio_core(tmp_path, target, normalization, modality, about):
    package, onnx_file = tmp_path / "model.zip", tmp_path / "model.onnx"
    metadata = export_model(tiny_weights(target, normalization), program=tmp_path / "model.pt2", onnx_file=onnx_file)
    write_package(package, onnx_file=onnx_file, model="tiny", modality=modality, metadata=metadata, about=about)
    result = check_model(package)
    assert result.status == "passed", result.format()
    description = load_model_description(package, perform_io_checks=False)
    assert description.outputs[0].axes[1].channel_names == MAPS[target]
    assert description.license == about.get("licence")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.pt2", "model.zip"]


def test_every_target_has_names_for_its_maps():
    assert {target: len(names) for target, names in MAPS.items()} == TARGETS
