"""The reach that a network states is the one that gradients measure, at the full depth of every architecture."""

import pytest
import torch
from torch import nn

from equinuclei.networks.build import build_model
from equinuclei.specs import ModelSpec

DEPTHS = {"unet": 6, "simplified": 5, "simplified-bn": 5, "simplified-bn-strided": 5, "gdensenet": 6, "gunet": 5}
REACH = {
    "unet": 407,
    "simplified": 107,
    "simplified-bn": 107,
    "simplified-bn-strided": 216,
    "gdensenet": 126,
    "gunet": 470,
}


def all_active(network):
    """Positive weights and batch norms that change nothing: with positive images, no ReLU hides a gradient."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            fixed = isinstance(module, nn.BatchNorm2d)
            parameter.data = torch.full_like(parameter, float(name == "weight")) if fixed else parameter.data.abs()
    return network.double().eval()


@pytest.mark.parametrize("architecture", DEPTHS)
def test_gradients_reach_as_far_as_the_network_says(architecture):
    torch.manual_seed(0)
    network = all_active(build_model(ModelSpec(architecture, "trivial", (1,) * DEPTHS[architecture])))
    multiple, reach = network.input_multiple, network.reach
    assert reach == REACH[architecture]
    middle = multiple * (reach // multiple + 2)
    height = 2 * middle + multiple
    # An image that grows brighter to the bottom lets every max pooling take its lower rows, the farthest.
    ramp = torch.linspace(1, 2, height, dtype=torch.double)[:, None].expand(height, 2 * multiple)
    farthest = 0
    for y in range(middle, middle + multiple):  # how far it is depends on where the logit lies in its pooling cell
        image = ramp.clone()[None, None].requires_grad_()
        network(image)[0, 0, y].sum().backward()
        rows = image.grad[0, 0].abs().sum(dim=1).nonzero().ravel()
        farthest = max(farthest, y - rows.min().item(), rows.max().item() - y)
    assert farthest == reach
