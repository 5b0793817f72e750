"""The U shape that the U-Nets share: encoder, bottleneck, decoder with skip connections."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import nn
from torch.nn import functional

from equinuclei.networks.layers import Concatenate, GroupMeanConv2d
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.slots import Features
from equinuclei.specs import TARGETS
from equinuclei.symmetry import Group


class EncoderDecoder(SegmentationNetwork):
    """A U-Net. The last of `widths` is that of the bottleneck; the others are those of the encoder's levels.

    Widths are channels per group element: level i has |G| * widths[i] feature maps. Between levels there is 2 x 2 max
    pooling, which is exactly equivariant on even sizes. The encoder's features are concatenated to the decoder's.

    Subclasses define the levels and the upsampling. Raises ValueError for fewer than two widths, or one below 1.
    """

    convs_per_level: ClassVar[int]

    def __init__(self, group: str, widths: Sequence[int], *, target: str = "binary") -> None:
        *widths, bottleneck_width = (int(width) for width in widths)
        if not widths or min(*widths, bottleneck_width) < 1:
            raise ValueError(f"expected at least 2 positive widths, not {[*widths, bottleneck_width]}")
        head = GroupMeanConv2d(Group(group), widths[0], TARGETS[target], kernel_size=1)
        super().__init__(Group(group), target, head)
        levels = len(widths)
        self.input_multiple = 2**levels
        # A 3 x 3 convolution at level l reaches 2^l pixels. The poolings add 2^levels - 1, from the first pixel of a
        # pooling cell to the last.
        convs_at_scales = [2 * 2**level for level in range(levels)] + [2**levels]
        self.reach = self.convs_per_level * sum(convs_at_scales) + 2**levels - 1
        self.encoder = nn.ModuleList(self.level(i, o) for i, o in zip([None, *widths], widths, strict=False))
        self.bottleneck = self.level(widths[-1], bottleneck_width)
        below = [*widths[1:], bottleneck_width]
        self.upsampling = nn.ModuleList(self.upsample(b, w) for b, w in zip(below, widths, strict=True))
        self.decoder = nn.ModuleList(
            self.level((self.upsampled_channels(b, w), w), w) for b, w in zip(below, widths, strict=True)
        )
        self.concatenate = Concatenate(self.group)

    @abstractmethod
    def level(self, in_channels: int | Sequence[int] | None, out_channels: int) -> nn.Module:
        """The convolutions of one level. `in_channels` is None for a level that lifts the image to the group, and a
        sequence for concatenated features."""

    @abstractmethod
    def upsample(self, channels: int, skip_channels: int) -> nn.Module:
        """A module that doubles height and width and turns `channels` into `upsampled_channels`."""

    @abstractmethod
    def upsampled_channels(self, channels: int, skip_channels: int) -> int:
        """Number of channels after upsampling."""

    def features(self, image: Features) -> Features:
        skips = []
        x = image
        for level in self.encoder:
            x = level(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for upsample, level, skip in zip(
            reversed(self.upsampling), reversed(self.decoder), reversed(skips), strict=True
        ):
            x = level(self.concatenate(upsample(x), skip))
        return x
