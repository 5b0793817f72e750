"""Simplified U-Net of the reference study, plain or equivariant by its group.

Widths double with depth, two 3 x 3 convolutions per level, no batch norm, and learnt upsampling: a transposed 2 x 2
convolution with stride 2.
"""

from torch import nn

from equinuclei.layers import GroupConv2d, GroupConvTranspose2d, LiftingConv2d
from equinuclei.models.encoder_decoder import EncoderDecoder


class SimplifiedUNet(EncoderDecoder):
    """U-Net of two convolutions per level with learnt upsampling."""

    convs_per_level = 2

    def level(self, in_channels: int | None, out_channels: int) -> nn.Sequential:
        if in_channels is None:
            first = LiftingConv2d(self.group, 1, out_channels)
        else:
            first = GroupConv2d(self.group, in_channels, out_channels)
        second = GroupConv2d(self.group, out_channels, out_channels)
        return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))

    def upsample(self, channels: int, skip_channels: int) -> GroupConvTranspose2d:
        return GroupConvTranspose2d(self.group, channels, skip_channels)

    def upsampled_channels(self, channels: int, skip_channels: int) -> int:
        return skip_channels
