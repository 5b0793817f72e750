"""U-Net of the reference study, plain or equivariant by its group.

Ronneberger et al. 2015, with constant width, batch norm and nearest-neighbour upsampling; equivariant by Cohen &
Welling 2016. Per level two double blocks: four times (3 x 3 convolution, batch norm, ReLU).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from equinuclei.layers import GroupBatchNorm2d, GroupConv2d, LiftingConv2d, concatenate
from equinuclei.models.network import SegmentationNetwork, check_widths, encoder_decoder_reach
from equinuclei.symmetry import Group

CONVS_PER_LEVEL = 4


class UNet(SegmentationNetwork):
    """U-Net with as many encoder levels as `widths` has entries before the last, which is the bottleneck's.

    Widths are channels per group element: level i has |G| * widths[i] feature maps.
    """

    def __init__(self, group: str, widths: Sequence[int]) -> None:
        group = Group(group)
        *encoder_widths, bottleneck_width = check_widths(widths, least=2)
        super().__init__(group, head_channels=encoder_widths[0])
        levels = len(encoder_widths)
        self.input_multiple = 2**levels
        self.reach = encoder_decoder_reach(levels, CONVS_PER_LEVEL, CONVS_PER_LEVEL, CONVS_PER_LEVEL)
        inputs = [None, *encoder_widths]
        self.encoder = nn.ModuleList(_level(group, i, o) for i, o in zip(inputs, encoder_widths, strict=False))
        self.bottleneck = _level(group, encoder_widths[-1], bottleneck_width)
        below = [*encoder_widths[1:], bottleneck_width]
        self.decoder = nn.ModuleList(_level(group, b + w, w) for b, w in zip(below, encoder_widths, strict=True))

    def features(self, image: Tensor) -> Tensor:
        skips = []
        x = image
        for level in self.encoder:
            x = level(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)  # exactly equivariant on even sizes
        x = self.bottleneck(x)
        for level, skip in zip(reversed(self.decoder), reversed(skips), strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = level(concatenate(self.group, (x, skip)))
        return x


def _level(group: Group, in_channels: int | None, out_channels: int) -> nn.Sequential:
    """Four times (3 x 3 convolution, batch norm, ReLU); in_channels None lifts the image."""
    layers: list[nn.Module] = []
    for index in range(CONVS_PER_LEVEL):
        if index == 0 and in_channels is None:
            conv = LiftingConv2d(group, 1, out_channels, bias=False)
        else:
            conv = GroupConv2d(group, out_channels if index else in_channels, out_channels, bias=False)
        layers += [conv, GroupBatchNorm2d(group, out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
