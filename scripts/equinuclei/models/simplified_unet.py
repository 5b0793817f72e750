"""Simplified U-Net of the reference study, plain or equivariant by its group.

Widths double with depth, two 3 x 3 convolutions per level, no batch norm, and learnt upsampling: a transposed 2 x 2
convolution with stride 2.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from equinuclei.layers import GroupConv2d, GroupConvTranspose2d, LiftingConv2d, concatenate
from equinuclei.models.network import SegmentationNetwork, check_widths, encoder_decoder_reach
from equinuclei.symmetry import Group


class SimplifiedUNet(SegmentationNetwork):
    """Simplified U-Net with as many encoder levels as `widths` has entries before the last, which is the bottleneck's.

    Widths are channels per group element: level i has |G| * widths[i] feature maps.
    """

    def __init__(self, group: str, widths: Sequence[int]) -> None:
        group = Group(group)
        *encoder_widths, bottleneck_width = check_widths(widths, least=2)
        super().__init__(group, head_channels=encoder_widths[0])
        levels = len(encoder_widths)
        self.input_multiple = 2**levels
        self.reach = encoder_decoder_reach(levels, convs_down=2, convs_bottom=2, convs_up=2)
        inputs = [None, *encoder_widths]
        self.encoder = nn.ModuleList(_block(group, i, o) for i, o in zip(inputs, encoder_widths, strict=False))
        self.bottleneck = _block(group, encoder_widths[-1], bottleneck_width)
        below = [*encoder_widths[1:], bottleneck_width]
        self.upsampling = nn.ModuleList(
            GroupConvTranspose2d(group, b, w) for b, w in zip(below, encoder_widths, strict=True)
        )
        self.decoder = nn.ModuleList(_block(group, 2 * w, w) for w in encoder_widths)

    def features(self, image: Tensor) -> Tensor:
        skips = []
        x = image
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)  # exactly equivariant on even sizes
        x = self.bottleneck(x)
        for upsample, block, skip in zip(
            reversed(self.upsampling), reversed(self.decoder), reversed(skips), strict=True
        ):
            x = block(concatenate(self.group, (upsample(x), skip)))
        return x


def _block(group: Group, in_channels: int | None, out_channels: int) -> nn.Sequential:
    """Twice (3 x 3 convolution, ReLU); in_channels None lifts the image."""
    if in_channels is None:
        first = LiftingConv2d(group, 1, out_channels)
    else:
        first = GroupConv2d(group, in_channels, out_channels)
    second = GroupConv2d(group, out_channels, out_channels)
    return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))
