"""Every layer commutes with its group, and is its ordinary counterpart for the trivial group."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from equinuclei.networks.layers import (
    Concatenate,
    EquivariantModule,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupConvTranspose2d,
    GroupMeanConv2d,
    LiftingConv2d,
    use_channels_last,
)
from equinuclei.networks.slots import Slots
from equinuclei.symmetry import Group, act_on_features

groups = st.sampled_from(list(Group))
few = st.integers(1, 3)
some = st.integers(1, 7)
LAYERS = {
    "group": lambda g, i, o, k: GroupConv2d(g, i, o, k),
    "group of two blocks": lambda g, i, o, k: GroupConv2d(g, (i, o), o, k),
    "lifting": lambda g, i, o, k: LiftingConv2d(g, i, o, k),
    "transposed": lambda g, i, o, k: GroupConvTranspose2d(g, i, o),
    "head": lambda g, i, o, k: GroupMeanConv2d(g, i, o, k),
    "batch norm": lambda g, i, o, k: GroupBatchNorm2d(g, i),
    "batch norm of two blocks": lambda g, i, o, k: GroupBatchNorm2d(g, (i, o)),
}
kinds = st.sampled_from(list(LAYERS))


def randomize(layer):
    """Random biases and statistics too, which new layers have at 0 and 1."""
    for name, tensor in layer.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.normal_()
    return layer.eval()


def draw(kind, group, channels_in, channels_out, kernel_size):
    return randomize(LAYERS[kind](group, channels_in, channels_out, kernel_size))


def relative_error(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-300)).item()


@settings(deadline=None, max_examples=80)
@given(kinds, groups, few, few, st.sampled_from([1, 3, 5]), some, some, st.booleans())
def test_every_layer_commutes_with_every_element(kind, group, c_in, c_out, kernel_size, height, width, exact):
    layer = draw(kind, group, c_in, c_out, kernel_size)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 5e-5)):
        errors = layer.check_equivariance((height, width), dtype=dtype, exact=exact)
        assert errors.keys() == {g.name for g in group.elements}
        assert max(errors.values()) <= (0 if exact else tolerance), errors


@settings(deadline=None, max_examples=60)
@given(kinds, groups, few, few, st.sampled_from([1, 3, 5]), some, some)
def test_exact_mode_and_folding_compute_the_same(kind, group, c_in, c_out, kernel_size, height, width):
    layer = draw(kind, group, c_in, c_out, kernel_size).double()
    x = torch.randn(2, layer._input_channels(), height, width, dtype=torch.double)
    with torch.no_grad():
        expected = layer(x)
        assert relative_error(layer._evaluate(x, exact=True), expected) <= 1e-12
        if isinstance(layer, GroupBatchNorm2d):
            expected = in_blocks(layer, expected)  # its output channels are its input channels
        assert relative_error(layer.fold()(in_blocks(layer, x)), expected) <= 1e-12
    assert not isinstance(layer.fold(), EquivariantModule)


def in_blocks(layer, x):
    """The channels as `Concatenate` leaves them once it is folded: block by block, G-major each."""
    if len(getattr(layer, "blocks", ())) < 2 or layer.takes_images:
        return x
    split = x.unflatten(1, (layer.group.order, -1)).split(layer.blocks, dim=2)
    return torch.cat([block.flatten(1, 2) for block in split], dim=1)


def test_the_check_sees_a_layer_that_is_not_equivariant():
    class Broken(GroupConv2d):
        def bank(self):
            return self.weight.unsqueeze(2).expand(-1, -1, 4, -1, -1, -1)  # the filters of no element are turned

    layer = randomize(Broken(Group.P4, 2, 2))
    errors = layer.check_equivariance()
    assert errors["rotated_000"] == 0 and min(list(errors.values())[1:]) > 0.1
    assert layer.check_equivariance(exact=True)["rotated_090"] == 0  # exact mode has no bank


def test_the_check_leaves_the_layer_as_it_is():
    layer = GroupBatchNorm2d(Group.P4, 2).train()
    layer.check_equivariance()
    assert layer.training and layer.weight.dtype == torch.float32 and layer.num_batches_tracked == 0


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
def test_concatenation_keeps_group_elements_apart(group):
    a = torch.randn(2, group.order * 2, 3, 3)
    b = torch.randn(2, group.order * 1, 3, 3)
    concatenate = Concatenate(group)
    joined = concatenate(a, b)
    for g in group.elements:
        expected = concatenate(act_on_features(g, a, group), act_on_features(g, b, group))
        assert torch.equal(act_on_features(g, joined, group), expected)
    slots = concatenate(Slots.of_features(a, group), Slots.of_features(b, group))
    assert torch.equal(slots.features(), joined)


@settings(deadline=None, max_examples=20)
@given(groups, few, some, some)
def test_slots_are_the_features_and_a_symmetry_permutes_them(group, channels, height, width):
    features = torch.randn(2, group.order * channels, height, width)
    slots = Slots.of_features(features, group)
    assert torch.equal(slots.features(), features)
    for g in group.elements:
        moved = Slots.of_features(act_on_features(g, features, group), group)
        for h, slot in zip(group.elements, moved.tensors, strict=True):
            assert torch.equal(slot, slots.tensors[group.position(g.inverse @ h)])


def test_functions_of_torch_take_slots():
    features = torch.randn(1, 8, 4, 6)
    slots = Slots.of_features(features, Group.P4)
    modules = [nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")]
    for module in modules:
        torch.testing.assert_close(module(slots + slots).features(), module(features + features))
    assert torch.equal(functional.max_pool2d(slots, 2).features(), functional.max_pool2d(features, 2))
    with pytest.raises(ValueError, match="p4 has 4 elements, not 1"):
        Slots(Group.P4, [features])


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
