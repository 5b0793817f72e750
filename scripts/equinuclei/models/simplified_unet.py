"""Simplified U-Net of the reference study, plain or equivariant by its group.

Widths double with depth, two 3 x 3 convolutions per level, and learnt upsampling: a transposed 2 x 2 convolution with
stride 2. Without batch norm, as in the study, or with it.
"""

from collections.abc import Sequence

from torch import nn

from equinuclei.layers import GroupBatchNorm2d, GroupConv2d, GroupConvTranspose2d, LiftingConv2d
from equinuclei.models.encoder_decoder import EncoderDecoder


class SimplifiedUNet(EncoderDecoder):
    """U-Net of two convolutions per level with learnt upsampling; `batch_norm` follows every convolution, if set."""

    convs_per_level = 2

    def __init__(self, group: str, widths: Sequence[int], *, target: str = "binary", batch_norm: bool = False) -> None:
        self.batch_norm = batch_norm
        super().__init__(group, widths, target=target)

    def level(self, in_channels: int | Sequence[int] | None, out_channels: int) -> nn.Sequential:
        bias = not self.batch_norm  # batch norm has one of its own
        if in_channels is None:
            first = LiftingConv2d(self.group, 1, out_channels, bias=bias)
        else:
            first = GroupConv2d(self.group, in_channels, out_channels, bias=bias)
        layers: list[nn.Module] = []
        for conv in (first, GroupConv2d(self.group, out_channels, out_channels, bias=bias)):
            layers.append(conv)
            if self.batch_norm:
                layers.append(GroupBatchNorm2d(self.group, out_channels))
            layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers)

    def upsample(self, channels: int, skip_channels: int) -> GroupConvTranspose2d:
        return GroupConvTranspose2d(self.group, channels, skip_channels)

    def upsampled_channels(self, channels: int, skip_channels: int) -> int:
        return skip_channels
