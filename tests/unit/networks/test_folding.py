"""Folded and exported networks compute what the networks compute, with ordinary layers alone."""

import json

import onnxruntime
import pytest
import torch
from torch import nn

from equinuclei.library.export import export_model, export_program, write_exports
from equinuclei.networks.build import build_model
from equinuclei.networks.checkpoint import save_weights
from equinuclei.networks.folding import fold
from equinuclei.networks.layers import Concatenate, EquivariantModule
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.specs import ARCHITECTURES, GROUPS, TARGETS, ModelSpec
from support.networks import randomize

ORDINARY = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, nn.Upsample, Concatenate)


def scaled(architecture, group, widths=(3, 4, 5), target="binary"):
    torch.manual_seed(1)
    network = randomize(build_model(ModelSpec(architecture, group, widths, target=target))).eval()
    # Random weights give logits of any size: with the largest near 1, errors are relative to it.
    with torch.no_grad():
        scale = network(torch.randn(1, 1, 32, 32)).abs().max()
        network.head.weight /= scale
        network.head.bias /= scale
    return network


SEVERAL_MAPS = [("unet", "trivial", "three_class"), ("gdensenet", "p4", "distance"), ("simplified", "p4m", "distance"),
                ("gunet", "p4m", "three_class")]  # fmt: skip


@pytest.mark.parametrize(
    "architecture, group, target", [*((a, g, "binary") for a in ARCHITECTURES for g in GROUPS), *SEVERAL_MAPS]
)
def test_a_folded_network_is_an_ordinary_one_with_the_same_maps(architecture, group, target):
    network = scaled(architecture, group, target=target)
    folded = fold(network)
    image = torch.randn(2, 1, 16, 24)
    with torch.no_grad():
        assert folded(image).shape == (2, TARGETS[target], 16, 24) and folded.target == target
        assert (folded(image) - network(image)).abs().max() <= 1e-5
    leaves = [m for m in folded.modules() if not isinstance(m, nn.Sequential) and not list(m.children())]
    assert all(isinstance(leaf, ORDINARY) and not isinstance(leaf, EquivariantModule) for leaf in leaves)
    assert isinstance(folded, SegmentationNetwork) and folded.input_multiple == network.input_multiple


def test_folding_is_exact_to_rounding_and_leaves_the_network_as_it_is():
    network = scaled("unet", "p4m").double().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold(network)
    assert network.training and not folded.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    image = torch.randn(1, 1, 16, 24, dtype=torch.double)
    with torch.no_grad():
        assert (folded(image) - network.eval()(image)).abs().max() <= 1e-12


def test_no_batch_norm_is_left_after_a_convolution():
    kinds = [type(module).__name__ for module in fold(scaled("unet", "p4")).modules()]
    assert "BatchNorm2d" not in kinds
    # GDenseNet normalises before it convolves: the zero padding of the convolution comes after the shift.
    kinds = [type(module).__name__ for module in fold(scaled("gdensenet", "p4")).modules()]
    assert "BatchNorm2d" in kinds


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exported_programs_take_any_size(architecture):
    network = scaled(architecture, "p4")
    program = export_program(network).module()
    for n, rows, columns in ((1, 2, 2), (3, 5, 4)):
        image = torch.randn(n, 1, rows * network.input_multiple, columns * network.input_multiple)
        with torch.no_grad():
            assert (program(image) - network(image)).abs().max() <= 1e-5


@pytest.mark.parametrize(
    "architecture, group, target",
    [
        ("simplified", "p4m", "distance"),
        pytest.param("gdensenet", "p4", "binary", marks=pytest.mark.nightly),
        pytest.param("unet", "trivial", "three_class", marks=pytest.mark.nightly),
    ],
)
def test_the_files_run_in_onnx_runtime_and_in_torch(tmp_path, architecture, group, target):
    network = scaled(architecture, group, target=target)
    spec = ModelSpec(architecture, group, (3, 4, 5), target=target)
    save_weights(network, spec, tmp_path / "weights.safetensors", network.certificate())
    files = {"program": tmp_path / "model.pt2", "onnx_file": tmp_path / "model.onnx"}
    export_model(tmp_path / "weights.safetensors", **files)
    session = onnxruntime.InferenceSession(files["onnx_file"], providers=["CPUExecutionProvider"])
    metadata = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert metadata["spec"] == spec.to_dict() and metadata["equivariance"]["group"] == group
    assert metadata["input"] == {"normalization": "standard", "multiple": 4, "reach": network.reach}
    assert metadata["target"] == target
    program = torch.export.load(files["program"]).module()
    for n, height, width in ((1, 8, 8), (2, 24, 40)):
        image = torch.randn(n, 1, height, width)
        with torch.no_grad():
            expected = network(image)
            assert (program(image) - expected).abs().max() <= 1e-5
        (logits,) = session.run(["logits"], {"image": image.numpy()})
        assert abs(logits - expected.numpy()).max() <= 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.pt2", "weights.safetensors"]


def test_an_export_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    network = scaled("simplified", "p4")
    monkeypatch.setattr("equinuclei.library.export.fold", lambda _: fold(scaled("simplified", "p4", (4, 4, 5))))
    with pytest.raises(RuntimeError, match="computes something else"):
        write_exports(network, program=tmp_path / "model.pt2", onnx_file=tmp_path / "model.onnx", metadata={})
    assert not list(tmp_path.iterdir())
