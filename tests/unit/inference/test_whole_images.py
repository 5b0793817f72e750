"""Logits of images of any size keep the symmetry of the network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.inference.whole_images import METHODS, pad_placements, predict_maps, predict_transforms
from equinuclei.networks.build import build_model
from equinuclei.specs import INFERENCES, ModelSpec
from equinuclei.symmetry import IDENTITY, Group


def network(group="p4m", architecture="simplified"):
    torch.manual_seed(0)
    return build_model(ModelSpec(architecture, group, (2, 3, 4))).double().eval()


@given(st.integers(1, 2000), st.sampled_from([1, 2, 16, 32]))
def test_pads_reach_the_next_multiple_and_are_symmetric_together(size, multiple):
    placements = pad_placements(size, multiple)
    for before, after in placements:
        assert (size + before + after) % multiple == 0 and before + after < multiple
    assert sorted(placements) == sorted((after, before) for before, after in placements)


@settings(deadline=None, max_examples=25)
@given(st.integers(5, 30), st.integers(5, 30), st.sampled_from(["p4", "p4m"]))
def test_any_size_is_equivariant(height, width, group):
    net = network(group)
    image = torch.randn(1, 1, height, width, dtype=torch.double)
    with torch.no_grad():
        logits = predict_maps(net, image)
        assert logits.shape == image.shape
        for g in net.group.elements:
            error = (predict_maps(net, g(image)) - g(logits)).abs().max() / logits.abs().max()
            assert error <= 1e-12, g


def test_padding_on_one_side_would_break_it():
    net = network()
    image = torch.randn(1, 1, 17, 17, dtype=torch.double)
    g = Group.P4M.elements[1]

    def one_sided(x):
        return net(torch.nn.functional.pad(x, (0, 3, 0, 3), mode="reflect"))[..., :17, :17]

    with torch.no_grad():
        assert (one_sided(g(image)) - g(one_sided(image))).abs().max() > 1e-3


def test_a_fitting_size_is_the_network_itself():
    net = network()
    image = torch.randn(2, 1, 8, 12, dtype=torch.double)
    assert torch.equal(predict_maps(net, image), net(image))


def test_transforms_come_back_into_the_frame_of_the_image():
    image = np.random.default_rng(0).integers(0, 65535, (18, 25)).astype(np.uint16)
    logits = predict_transforms(network("p4m").float(), image, Group.P4M.elements)
    first = logits[Group.P4M.elements[0]]
    assert first.shape == (1, *image.shape) and first.dtype == np.float32
    for other in logits.values():
        np.testing.assert_allclose(other, first, atol=1e-4 * np.abs(first).max())
    plain = predict_transforms(network("trivial").float(), image, Group.P4.elements)
    a, b = plain[Group.P4.elements[0]], plain[Group.P4.elements[1]]
    assert np.abs(a - b).max() > 1e-2 * np.abs(a).max()


MODE_GROUPS = {"exact": None, "canonical": Group.P4M, "tta4": Group.P4, "tta8": Group.P4M}


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["trivial", "p4", "p4m"]),
    st.sampled_from(list(MODE_GROUPS)),
    st.integers(5, 26),
    st.integers(5, 26),
    st.integers(1, 3),
)
def test_inference_modes_are_bit_identical_under_their_group(group, inference, height, width, values):
    """Also images with few values, which have symmetries of their own, and blank ones."""
    image = np.random.default_rng(0).integers(0, values, (height, width)).astype(np.uint16)
    net = network(group).float()
    symmetry = MODE_GROUPS[inference] or net.group
    logits = predict_transforms(net, image, symmetry.elements, inference=inference)
    for other in logits.values():
        np.testing.assert_array_equal(other, logits[IDENTITY])


def test_a_plain_network_gains_nothing_from_exact_mode():
    image = np.random.default_rng(0).integers(0, 65535, (18, 25)).astype(np.uint16)
    net = network("trivial").float()
    deployed, exact = (predict_transforms(net, image, Group.P4.elements, inference=m) for m in ("deployed", "exact"))
    np.testing.assert_array_equal(exact[IDENTITY], deployed[IDENTITY])
    turned = Group.P4.elements[1]
    assert np.abs(exact[turned] - exact[IDENTITY]).max() > 1e-2 * np.abs(exact[IDENTITY]).max()


def test_test_time_augmentation_is_the_mean_over_the_transforms():
    image = np.random.default_rng(0).integers(0, 65535, (16, 24)).astype(np.uint16)
    net = network("trivial").float()
    for inference, group in (("tta4", Group.P4), ("tta8", Group.P4M)):
        each = predict_transforms(net, image, group.elements)
        mean = predict_transforms(net, image, [IDENTITY], inference=inference)[IDENTITY]
        np.testing.assert_allclose(mean, np.mean([*each.values()], axis=0), atol=1e-5)


def test_the_canonical_frame_predicts_the_image_in_one_of_its_orientations():
    image = np.random.default_rng(0).integers(0, 65535, (16, 24)).astype(np.uint16)
    net = network("trivial").float()
    canonical = predict_transforms(net, image, [IDENTITY], inference="canonical")[IDENTITY]
    each = predict_transforms(net, image, Group.P4M.elements)
    assert sum(np.array_equal(canonical, logits) for logits in each.values()) == 1


def test_every_configured_mode_has_a_method():
    assert METHODS.keys() == INFERENCES.keys()


def test_an_image_smaller_than_its_pad_is_refused():
    net = build_model("unet-p4")
    with pytest.raises(InputError, match="8 x 100 pixels is too small"):
        predict_maps(net, torch.zeros(1, 1, 8, 100))
