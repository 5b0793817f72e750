"""U-Net of the reference study, plain or equivariant depending on its group.

Ronneberger et al. 2015, with constant width, batch norm and nearest-neighbour upsampling; made equivariant as in Cohen
& Welling 2016. Each level has two double blocks: four times (3 x 3 convolution, batch norm, ReLU).
"""

from collections.abc import Sequence

from torch import nn

from equinuclei.networks.encoder_decoder import EncoderDecoder
from equinuclei.networks.layers import GroupBatchNorm2d, GroupConv2d, LiftingConv2d


class UNet(EncoderDecoder):
    """U-Net with batch norm and nearest-neighbour upsampling."""

    convs_per_level = 4

    def level(self, in_channels: int | Sequence[int] | None, out_channels: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for index in range(self.convs_per_level):
            inputs = out_channels if index else in_channels
            conv = (
                LiftingConv2d(self.group, 1, out_channels, bias=False)
                if inputs is None
                else GroupConv2d(self.group, inputs, out_channels, bias=False)
            )
            layers += [conv, GroupBatchNorm2d(self.group, out_channels), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    def upsample(self, channels: int, skip_channels: int) -> nn.Upsample:
        return nn.Upsample(scale_factor=2, mode="nearest")  # exactly equivariant

    def upsampled_channels(self, channels: int, skip_channels: int) -> int:
        return channels
