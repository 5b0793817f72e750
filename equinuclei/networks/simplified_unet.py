"""Simplified U-Net of the reference study, plain or equivariant depending on its group.

Two 3 x 3 convolutions per level, and learned upsampling by a transposed 2 x 2 convolution with stride 2. Variants have
batch norm, which the study's network lacks, and a strided stem, for speed.
"""

from collections.abc import Sequence

from torch import nn

from equinuclei.networks.encoder_decoder import EncoderDecoder
from equinuclei.networks.layers import GroupBatchNorm2d, GroupConv2d, GroupConvTranspose2d, LiftingConv2d
from equinuclei.networks.slots import Features

STEM_KERNEL = 4


class SimplifiedUNet(EncoderDecoder):
    """U-Net with two convolutions per level and learned upsampling.

    batch_norm : every convolution is followed by batch norm.
    strided : a 4 x 4 convolution with stride 2 lifts the image to the group, the levels work at half of its resolution
        and below, and a transposed convolution restores it. A U-Net spends most time on its finest level.
    """

    convs_per_level = 2

    def __init__(
        self,
        group: str,
        widths: Sequence[int],
        *,
        target: str = "binary",
        batch_norm: bool = False,
        strided: bool = False,
    ) -> None:
        self.batch_norm, self.strided = batch_norm, strided
        super().__init__(group, widths, target=target)
        if strided:
            width, bias = int(widths[0]), not batch_norm
            self.stem = self._activated(LiftingConv2d(self.group, 1, width, STEM_KERNEL, stride=2, bias=bias))
            self.restore = self._activated(GroupConvTranspose2d(self.group, width, width, bias=bias))
            self.input_multiple *= 2
            # A pixel depends on half-resolution pixels up to `reach` away. The farthest of these depends on the two
            # pixels that it stands for and on the one beyond them.
            self.reach = 2 * self.reach + STEM_KERNEL // 2

    def level(self, in_channels: int | Sequence[int] | None, out_channels: int) -> nn.Sequential:
        bias = not self.batch_norm  # batch norm has its own
        if in_channels is None and self.strided:
            in_channels = out_channels
        first = (
            LiftingConv2d(self.group, 1, out_channels, bias=bias)
            if in_channels is None
            else GroupConv2d(self.group, in_channels, out_channels, bias=bias)
        )
        second = GroupConv2d(self.group, out_channels, out_channels, bias=bias)
        return nn.Sequential(*self._activated(first), *self._activated(second))

    def upsample(self, channels: int, skip_channels: int) -> GroupConvTranspose2d:
        return GroupConvTranspose2d(self.group, channels, skip_channels)

    def upsampled_channels(self, channels: int, skip_channels: int) -> int:
        return skip_channels

    def features(self, image: Features) -> Features:
        if self.strided:
            return self.restore(super().features(self.stem(image)))
        return super().features(image)

    def _activated(self, conv: GroupConv2d | GroupConvTranspose2d) -> nn.Sequential:
        norm = [GroupBatchNorm2d(self.group, conv.out_channels)] if self.batch_norm else []
        return nn.Sequential(conv, *norm, nn.ReLU(inplace=True))
