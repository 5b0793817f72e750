"""The networks: exactness, cost and reach as specified, and weights on disk."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from equinuclei.errors import InputError, UnavailableError
from equinuclei.networks.build import build_model
from equinuclei.networks.checkpoint import KEY, load_model, read_metadata, save_weights
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.network import model_cost
from equinuclei.specs import ARCHITECTURES, GROUPS, PRESETS, TARGETS, ModelSpec, resolve_spec
from support.networks import randomize

# Parameters (M), GFLOP at 256 x 256, reach (px), input multiple.
SPECIFIED = {
    "unet": (1.776, 53.2, 407, 32),
    "unet-p4": (1.773, 212.7, 407, 32),
    "unet-p4m": (1.831, 439.4, 407, 32),
    "simplified": (0.486, 1.51, 107, 16),
    "simplified-p4": (0.485, 6.03, 107, 16),
    "simplified-p4m": (0.489, 12.68, 107, 16),
    "simplified-wide": (1.941, 6.03, 107, 16),
    "gdensenet": (0.427, 7.12, 126, 32),
    "gdensenet-p4": (0.424, 28.5, 126, 32),
    "gdensenet-p4m": (0.406, 54.7, 126, 32),
    "gunet-p4": (6.387, 119.9, 470, 16),
    "gunet-p4m": (7.181, 269.8, 470, 16),
}


def narrow(architecture, group, depth=2):
    return build_model(ModelSpec(architecture, group, (2,) * (depth + 1)))


@pytest.mark.parametrize("name", SPECIFIED)
def test_cost_and_reach_are_as_specified(name):
    with torch.device("meta"):  # what is counted need not be computed
        network = build_model(name)
        cost = model_cost(network)
    parameters, gflops, reach, multiple = SPECIFIED[name]
    assert cost["parameters"] / 1e6 == pytest.approx(parameters, abs=5e-4)
    assert cost["gflops"] == pytest.approx(gflops, rel=2e-3)
    assert (network.reach, network.input_multiple) == (reach, multiple)
    assert network.group == PRESETS[name].group


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(list(ARCHITECTURES)),
    st.sampled_from(GROUPS),
    st.lists(st.integers(1, 4), min_size=2, max_size=4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(list(TARGETS)),
)
def test_networks_of_any_width_and_depth_are_exact(architecture, group, widths, rows, columns, target):
    network = randomize(build_model(ModelSpec(architecture, group, widths, target=target)))
    size = rows * network.input_multiple, columns * network.input_multiple
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 5e-5)):
        errors = network.check_equivariance(size, dtype=dtype)
        assert errors.keys() == {g.name for g in network.group.elements}
        assert max(errors.values()) <= tolerance, errors
    for dtype in (torch.float32, torch.bfloat16):
        assert set(network.check_equivariance(size, dtype=dtype, exact=True).values()) == {0}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("target", TARGETS)
def test_exact_mode_computes_the_same_maps(architecture, group, target):
    torch.manual_seed(12)  # with others some of the networks are dead
    network = randomize(build_model(ModelSpec(architecture, group, (3, 4, 5), target=target))).double().eval()
    image = torch.randn(2, 1, 16, 24, dtype=torch.double)
    with torch.no_grad():
        maps = network(image)
        assert maps.shape == (2, TARGETS[target], 16, 24) and maps.std(dim=(0, 2, 3)).min() > 0
        assert (network.exact(image) - maps).abs().max() <= 1e-12 * maps.abs().max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exact_mode_is_bit_identical_on_a_gpu(architecture, dtype):
    torch.manual_seed(1)
    device = prepare_torch("cuda", 1, deterministic=True)
    network = randomize(build_model(ModelSpec(architecture, "p4m", (3, 4, 5)))).to(device, dtype).eval()
    image = torch.randn(1, 1, 48, 64, device=device, dtype=dtype)
    with torch.no_grad():
        logits = network.exact(image)
        assert all(torch.equal(network.exact(g(image)), g(logits)) for g in network.group.elements)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_as_deployed_float32_is_not_bit_identical(architecture):
    """Otherwise exact mode would have nothing to do."""
    torch.manual_seed(1)
    network = randomize(build_model(ModelSpec(architecture, "p4m", (3, 4, 5))))
    assert max(network.check_equivariance((16, 24), dtype=torch.float32).values()) > 0


def test_the_certificate_tells_what_holds_and_what_does_not():
    torch.manual_seed(1)
    plain, p4, p4m = (randomize(build_model(ModelSpec("unet", g, (3, 4)))).certificate() for g in GROUPS)
    turned, mirrored = "rotated_090", "mirrored_rotated_090"
    assert plain["float64"][turned] > 1e-3 and plain["exact"][turned] > 1e-3
    assert p4["group"] == "p4" and p4["float64"][turned] <= 1e-12 and p4["exact"][turned] == 0
    assert p4["float64"][mirrored] > 1e-3 and p4["exact"][mirrored] > 1e-3
    assert p4m["float64"][mirrored] <= 1e-12 and p4m["float32"][mirrored] <= 5e-5 and p4m["exact"][mirrored] == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_plain_network_is_not_equivariant(architecture):
    torch.manual_seed(1)
    network = randomize(build_model(ModelSpec(architecture, "trivial", (8, 8)))).double().eval()
    image = torch.randn(1, 1, 16, 16, dtype=torch.double)
    expected = network(image).rot90(1, (-2, -1))
    assert (network(image.rot90(1, (-2, -1))) - expected).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("group", GROUPS)
def test_the_reach_is_how_far_a_pixel_is_felt(architecture, group):
    network = randomize(narrow(architecture, group)).eval()
    multiple = network.input_multiple
    middle = multiple * (network.reach // multiple + 2)
    farthest = 0
    # A NaN marks every logit that the pixel can influence, through ReLU and max pooling too. How far that is depends on
    # where the pixel lies in its pooling cell.
    for y in range(middle, middle + multiple):
        image = torch.zeros(1, 1, 2 * middle + multiple, multiple)
        image[0, 0, y, 0] = torch.nan
        with torch.no_grad():
            felt = network(image)[0, 0].isnan().any(dim=1).nonzero().ravel()
        farthest = max(farthest, y - felt.min().item(), felt.max().item() - y)
    assert farthest == network.reach


def test_a_size_that_does_not_fit_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"multiples of 16.*predict_maps"):
        build_model("simplified-p4")(torch.zeros(1, 1, 60, 64))
    with pytest.raises(ValueError, match=r"\[N, 1, H, W\]"):
        build_model("simplified-p4")(torch.zeros(1, 3, 64, 64))


def test_training_starts_at_the_prior():
    network = build_model("simplified-p4").eval()
    network.set_prior([math.log(0.1 / 0.9)])
    with torch.no_grad():
        logits = network(torch.randn(1, 1, 64, 64))
    torch.testing.assert_close(logits.sigmoid(), torch.full_like(logits, 0.1))


def test_specs_come_from_names_and_mappings():
    assert resolve_spec("simplified-p4") == PRESETS["simplified-p4"]
    narrow_spec = resolve_spec({"preset": "simplified-p4", "widths": [2, 4]})
    assert narrow_spec == ModelSpec("simplified", "p4", (2, 4))
    assert resolve_spec(narrow_spec.to_dict()) == narrow_spec
    distance = resolve_spec({"preset": "simplified-p4", "target": "distance"})
    assert resolve_spec(distance.to_dict()) == distance and distance.to_dict()["target"] == "distance"
    # As in weights from before there were these, whose bytes stay as they are.
    assert narrow_spec.target == "binary" and not {"target", "normalization", "diameter"} & narrow_spec.to_dict().keys()
    sized = resolve_spec({"preset": "strided-p4", "normalization": "percentile", "diameter": 24})
    assert resolve_spec(sized.to_dict()) == sized
    network = build_model(sized)
    assert (network.normalization, network.diameter) == ("percentile", 24)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("simplifed-p4", r"unknown model 'simplifed-p4'. Did you mean 'simplified-p4'\? Known: unet, "),
        ({"preset": "unet", "width": [3, 3]}, r"unknown model setting 'width'. Did you mean 'widths'\?"),
        ({"architecture": "unet"}, "add group, widths"),
        ({"preset": "unet", "group": "p8"}, "unknown group 'p8'"),
        ({"preset": "unet", "target": "distances"}, "unknown target 'distances'. Did you mean 'distance'"),
        ({"preset": "unet", "normalization": "percentiles"}, "unknown normalization 'percentiles'. Did you mean"),
        ({"preset": "unet", "widths": [4]}, "at least 2"),
        ({"preset": "unet", "widths": [4, 0]}, "positive widths"),
    ],
)
def test_an_impossible_spec_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        build_model(spec)


@pytest.mark.parametrize("target", TARGETS)
def test_weights_come_back_with_their_network_and_certificate(tmp_path, target):
    spec = ModelSpec("unet", "p4m", (2, 3), target=target)
    network = randomize(build_model(spec)).eval()
    save_weights(network, spec, tmp_path / "weights.safetensors", network.certificate())
    assert read_metadata(tmp_path / "weights.safetensors")["equivariance"]["exact"]["rotated_090"] == 0
    loaded = load_model(tmp_path / "weights.safetensors")
    image = torch.randn(1, 1, 8, 8)
    assert not loaded.training and loaded.group == "p4m" and loaded.target == target
    torch.testing.assert_close(loaded(image), network(image))


def test_the_same_weights_give_the_same_bytes(tmp_path):
    spec = ModelSpec("unet", "p4m", (2, 3))
    network = build_model(spec)
    certificate = network.certificate()
    for number in range(8):  # safetensors alone would order its metadata at random
        save_weights(network, spec, tmp_path / str(number), certificate)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_weights_that_cannot_be_used_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(UnavailableError, match=r"weights.safetensors: cannot be read now"):
        load_model(path)
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="these are no weights of this workflow"):
        load_model(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="no model specification"):
        load_model(path)
    save_file({"a": torch.zeros(1)}, path, metadata={KEY: json.dumps({"spec": PRESETS["unet"].to_dict()})})
    with pytest.raises(InputError, match="do not fit the network"):
        load_model(path)
