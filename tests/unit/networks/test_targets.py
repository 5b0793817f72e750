"""Targets: losses, probabilities and codes of hand-made maps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional

from equinuclei import specs as models
from equinuclei.networks.targets import DISTANCE_WEIGHT, NO_IMAGE, target_of
from equinuclei.symmetry import Group

BINARY, DISTANCE, THREE_CLASS = map(target_of, models.TARGETS)
FLOATS = st.floats(-300, 300, width=32) | st.sampled_from([0.0, -0.0, 0.5, 1.0, NO_IMAGE])


def maps_of(name):
    return arrays(np.float32, (models.TARGETS[name], 3, 4), elements=FLOATS)


def truths(name):
    highest = {"binary": 1, "distance": 255, "three_class": 2}[name]
    return arrays(np.uint8, (3, 4), elements=st.integers(0, highest))


any_maps = st.sampled_from(list(models.TARGETS)).flatmap(
    lambda name: st.tuples(st.just(name), maps_of(name), truths(name))
)


def test_names_and_numbers_of_maps_are_those_of_the_configuration():
    assert {name: len(target_of(name).no_image) for name in models.TARGETS} == models.TARGETS


@given(any_maps)
def test_codes_are_background_where_the_probability_is_below_a_half(drawn):
    name, maps, _ = drawn
    codes, probability = target_of(name).codes(maps), target_of(name).probability(maps)
    assert codes.dtype == np.uint8 and codes.shape == probability.shape == (3, 4)
    foreground = target_of(name).foreground(torch.from_numpy(maps)[None])[0, 0].numpy()
    np.testing.assert_array_equal(codes > 0, foreground > 0)
    assert (probability[codes > 0] >= 0.5).all() and (probability[codes == 0] <= 0.5).all()


@given(any_maps)
def test_codes_of_turned_maps_are_the_turned_codes(drawn):
    name, maps, _ = drawn
    for g in Group.P4M.elements:
        turned = target_of(name).codes(np.ascontiguousarray(g(maps)))
        np.testing.assert_array_equal(turned, g(target_of(name).codes(maps)))


@given(any_maps)
def test_the_loss_is_the_mean_over_pixels_whatever_their_order(drawn):
    name, maps, truth = drawn
    maps, truth = torch.from_numpy(maps)[None].double(), torch.from_numpy(truth)[None, None].double()
    loss = target_of(name).loss(maps, truth)
    single = [target_of(name).loss(maps[..., y : y + 1, x : x + 1], truth[..., y : y + 1, x : x + 1]) for y in range(3)
              for x in range(4)]  # fmt: skip
    torch.testing.assert_close(loss, torch.stack(single).mean())
    assert loss >= 0


def test_codes_by_hand():
    assert BINARY.codes(np.array([[[-1, 0, 1e-6]]], np.float32)).tolist() == [[0, 0, 1]]
    logits, distance = [-1, 1, 1, 1, 1, 1], [0.5, -0.2, 0.001, 0.5, 1, 1.7]
    assert DISTANCE.codes(np.array([[logits], [distance]], np.float32)).tolist() == [[0, 1, 1, 128, 255, 255]]
    classes = np.array([[[3, 1, 1, 2, 2, 0]], [[1, 3, 1, 2, 1, 4]], [[1, 1, 3, 2, 2.5, 4]]], np.float32)
    assert THREE_CLASS.codes(classes).tolist() == [[0, 1, 2, 0, 2, 1]]  # of equals the one that stands first


def test_losses_by_hand():
    truth = torch.tensor([[[[0.0, 51.0, 255.0]]]])
    maps = torch.tensor([[[[-2.0, 0.0, 3.0]], [[0.1, 0.2, 0.6]]]])
    cross = np.mean([math.log1p(math.exp(-2)), math.log(2), math.log1p(math.exp(-3))])
    assert DISTANCE.loss(maps, truth).item() == pytest.approx(cross + DISTANCE_WEIGHT * (0.1 + 0 + 0.4) / 3)
    assert BINARY.loss(maps[:, :1], (truth > 0).float()).item() == pytest.approx(cross)
    classes, logits = torch.tensor([[[[0.0, 1.0, 2.0]]]]), torch.randn(1, 3, 1, 3)
    expected = functional.cross_entropy(logits, classes[:, 0].long())
    torch.testing.assert_close(THREE_CLASS.loss(logits, classes), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", models.TARGETS)
def test_losses_are_deterministic_on_a_gpu(name):
    maps = torch.randn(2, models.TARGETS[name], 64, 64, device="cuda", requires_grad=True)
    truth = torch.randint(0, 2, (2, 1, 64, 64), device="cuda").float()
    torch.use_deterministic_algorithms(True)
    try:  # raises where torch has no deterministic way
        first, second = (torch.autograd.grad(target_of(name).loss(maps, truth), maps)[0] for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert first.abs().max() > 0 and torch.equal(first, second)


def test_training_starts_from_the_shares_of_the_truths():
    binary, classes = [np.eye(4, dtype=bool), np.zeros((4, 12), bool)], [np.array([[0, 0, 1, 2], [0, 2, 2, 2]])]
    odds = math.log((4 / 64) / (60 / 64))
    assert BINARY.prior(binary) == pytest.approx([odds])
    assert DISTANCE.prior([truth * np.uint8(200) for truth in binary]) == pytest.approx([odds, 0])
    assert np.exp(THREE_CLASS.prior(classes)) == pytest.approx([3 / 8, 1 / 8, 4 / 8])
    for name in models.TARGETS:  # of empty truths too, with finite numbers
        assert np.isfinite(target_of(name).prior([np.zeros((3, 3), np.uint8)])).all(), name
