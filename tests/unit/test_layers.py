"""Every layer commutes with its group, and is its ordinary counterpart for the trivial group."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from equinuclei.layers import (
    GroupBatchNorm2d,
    GroupConv2d,
    GroupConvTranspose2d,
    GroupMean,
    LiftingConv2d,
    concatenate,
    use_channels_last,
)
from equinuclei.symmetry import Group, act_on_features

groups = st.sampled_from(list(Group))
few = st.integers(1, 3)


def relative_error(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-300)).item()


def assert_equivariant(layer, features, group, act_on_input=act_on_features):
    layer = layer.double().eval()
    output = layer(features)
    for g in group.elements:
        moved = layer(act_on_input(g, features, group))
        assert relative_error(moved, act_on_features(g, output, group)) <= 1e-12, g


@settings(deadline=None, max_examples=30)
@given(groups, few, few, st.sampled_from([1, 3, 5]), st.integers(1, 7), st.integers(1, 7))
def test_group_convolution_is_equivariant(group, channels_in, channels_out, kernel_size, height, width):
    features = torch.randn(2, group.order * channels_in, height, width, dtype=torch.double)
    assert_equivariant(GroupConv2d(group, channels_in, channels_out, kernel_size), features, group)


@settings(deadline=None, max_examples=30)
@given(groups, few, few, st.sampled_from([1, 3, 7]), st.integers(1, 7), st.integers(1, 7))
def test_lifting_convolution_is_equivariant(group, channels_in, channels_out, kernel_size, height, width):
    image = torch.randn(2, channels_in, height, width, dtype=torch.double)
    layer = LiftingConv2d(group, channels_in, channels_out, kernel_size)
    assert_equivariant(layer, image, group, act_on_input=lambda g, grid, _: g(grid))


@settings(deadline=None, max_examples=30)
@given(groups, few, few, st.integers(1, 5), st.integers(1, 5))
def test_transposed_convolution_is_equivariant(group, channels_in, channels_out, height, width):
    features = torch.randn(2, group.order * channels_in, height, width, dtype=torch.double)
    assert_equivariant(GroupConvTranspose2d(group, channels_in, channels_out), features, group)


@settings(deadline=None, max_examples=20)
@given(groups, few, st.booleans())
def test_batch_norm_is_equivariant_in_training_and_evaluation(group, channels, training):
    features = torch.randn(2, group.order * channels, 4, 5, dtype=torch.double) * 3 + 1
    layer = GroupBatchNorm2d(group, channels).double()
    for _ in range(3):
        layer(features)
    layer.train(training)
    output = layer(features)
    for g in group.elements:
        moved = layer(act_on_features(g, features, group))
        assert relative_error(moved, act_on_features(g, output, group)) <= 1e-12


def test_an_ordinary_batch_norm_over_the_group_is_not_equivariant():
    features = torch.randn(2, 8, 4, 4, dtype=torch.double)
    layer = nn.BatchNorm2d(8).double()
    layer.weight.data.uniform_(0.5, 2)
    g = Group.P4.elements[1]
    moved = layer(act_on_features(g, features, Group.P4))
    assert relative_error(moved, act_on_features(g, layer(features), Group.P4)) > 1e-3


@pytest.mark.parametrize("group", Group)
def test_the_group_mean_is_an_equivariant_image(group):
    features = torch.randn(2, group.order * 3, 4, 5, dtype=torch.double)
    pooled = GroupMean(group)(features)
    assert pooled.shape == (2, 3, 4, 5)
    for g in group.elements:
        moved = GroupMean(group)(act_on_features(g, features, group))
        assert relative_error(moved, g(pooled)) <= 1e-12


@pytest.mark.parametrize("group", Group)
def test_concatenation_keeps_group_elements_apart(group):
    a = torch.randn(2, group.order * 2, 3, 3)
    b = torch.randn(2, group.order * 1, 3, 3)
    joined = concatenate(group, (a, b))
    for g in group.elements:
        expected = concatenate(group, (act_on_features(g, a, group), act_on_features(g, b, group)))
        assert torch.equal(act_on_features(g, joined, group), expected)


def test_layers_of_the_trivial_group_are_the_ordinary_ones():
    features = torch.randn(2, 3, 6, 6)
    conv = GroupConv2d(Group.TRIVIAL, 3, 4)
    expected = functional.conv2d(features, conv.weight[:, :, 0], conv.bias, padding=1)
    assert torch.equal(conv(features), expected)
    up = GroupConvTranspose2d(Group.TRIVIAL, 3, 4)
    expected = functional.conv_transpose2d(features, up.weight[:, :, 0].transpose(0, 1), up.bias, stride=2)
    torch.testing.assert_close(up(features), expected)


def test_the_bias_is_shared_over_the_group_and_used():
    conv = GroupConv2d(Group.P4, 1, 2)
    nn.init.zeros_(conv.weight)
    conv.bias.data = torch.tensor([1.0, 2.0])
    assert conv(torch.randn(1, 4, 3, 3))[0, :, 0, 0].tolist() == [1, 2] * 4


def test_channels_last_changes_the_format_and_not_the_result():
    conv = GroupConv2d(Group.P4, 4, 4)
    features = torch.randn(2, 16, 8, 8)
    before = conv(features)
    use_channels_last(conv)
    after = conv(features)
    assert after.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(after, before)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="odd kernel"):
        GroupConv2d(Group.P4, 1, 1, kernel_size=2)
