"""What every network tells of itself."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from equinuclei.layers import GroupConv2d, GroupMean
from equinuclei.symmetry import Group


class SegmentationNetwork(nn.Module, ABC):
    """A network from one grey channel to one logit per pixel: [N, 1, H, W] float32 -> [N, 1, H, W].

    Attributes
    ----------
    group : Group
        The symmetry group under which the logits are equivariant.
    input_multiple : int
        Height and width of the input must be multiples of it.
    reach : int
        Receptive-field radius in pixels: how far, along either axis, an input pixel can influence a logit.
    """

    group: Group
    input_multiple: int
    reach: int

    def __init__(self, group: Group, head_channels: int) -> None:
        super().__init__()
        self.group = group
        # A 1 x 1 group convolution and the mean over the group: linear, and equivariant where a plain 1 x 1 is not.
        self.head = nn.Sequential(GroupConv2d(group, head_channels, 1, kernel_size=1), GroupMean(group))

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """G-major features of the head's input, [N, G*C, H, W]."""

    def forward(self, image: Tensor) -> Tensor:
        """Logits [N, 1, H, W] of standardised images [N, 1, H, W]. Raises ValueError for another shape."""
        if image.ndim != 4 or image.shape[1] != 1:
            raise ValueError(f"expected images of shape [N, 1, H, W], not {list(image.shape)}")
        if any(size % self.input_multiple for size in image.shape[-2:]):
            raise ValueError(
                f"height and width must be multiples of {self.input_multiple}, not {tuple(image.shape[-2:])}; "
                "equinuclei.inference.predict_logits pads any size symmetrically"
            )
        return self.head(self.features(image))

    def set_prior(self, nucleus_fraction: float) -> None:
        """Start the head's bias at the log-odds of a nucleus pixel, so that training does not begin by finding it."""
        fraction = min(max(nucleus_fraction, 1e-4), 1 - 1e-4)
        nn.init.constant_(self.head[0].bias, math.log(fraction / (1 - fraction)))
        nn.init.normal_(self.head[0].weight, std=0.1)


def model_cost(network: SegmentationNetwork, size: int = 256) -> dict[str, float]:
    """Trainable parameters, and GFLOP of one `size` x `size` image (a multiplication and an addition are two)."""
    example = next(network.parameters())
    was_training = network.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 1, size, size, dtype=example.dtype, device=example.device))
    network.train(was_training)
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return {"parameters": parameters, "gflops": round(counter.get_total_flops() / 1e9, 3)}
