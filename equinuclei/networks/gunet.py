"""GU-Net: a deep residual U-Net, plain or equivariant depending on its group.

Chidester et al., Enhanced Rotation-Equivariant U-Net for Nuclear Segmentation, CVPR Workshops 2019. A 7 x 7 lifting
convolution; residual blocks on all levels but the finest, and on the skip connections, where shallower ones have more;
nearest-neighbour upsampling; finally a 3 x 3 convolution and the mean over the group.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn
from torch.nn import functional

from equinuclei.networks.layers import (
    Concatenate,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupMeanConv2d,
    LiftingConv2d,
)
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.slots import Features
from equinuclei.specs import TARGETS
from equinuclei.symmetry import Group

# Residual blocks per level, from the finest on: in encoder and decoder, and on the skip connections.
LEVEL_BLOCKS = (0, 3, 4, 6)
SKIP_BLOCKS = (8, 6, 3, 0)
BOTTLENECK_BLOCKS = 3


class ResidualBlock(nn.Module):
    """x + BN-conv-BN-ReLU-conv-BN (Han et al. 2017), [N, G*C, H, W] -> the same shape."""

    def __init__(self, group: Group, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            GroupBatchNorm2d(group, channels),
            GroupConv2d(group, channels, channels),
            GroupBatchNorm2d(group, channels),
            nn.ReLU(inplace=True),
            GroupConv2d(group, channels, channels),
            GroupBatchNorm2d(group, channels),
        )

    def forward(self, features: Features) -> Features:
        return features + self.layers(features)


class GUNet(SegmentationNetwork):
    """GU-Net. The last of `widths` is that of the bottleneck; the others are those of the levels, at most 4.

    Widths are channels per group element. Raises ValueError for an unsupported number of widths, or one below 1.
    """

    def __init__(self, group: str, widths: Sequence[int], *, target: str = "binary") -> None:
        group = Group(group)
        widths = [int(width) for width in widths]
        levels = len(widths) - 1
        if not 1 <= levels <= len(LEVEL_BLOCKS) or min(widths) < 1:
            raise ValueError(f"expected 2 to {len(LEVEL_BLOCKS) + 1} positive widths, not {widths}")
        super().__init__(group, target, GroupMeanConv2d(group, widths[0], TARGETS[target], kernel_size=3))
        blocks = [*LEVEL_BLOCKS[:levels], BOTTLENECK_BLOCKS]
        finer = [*pairwise(widths)]
        self.lifting = self._normalized(LiftingConv2d(group, 1, widths[0], kernel_size=7))
        self.encoder = nn.ModuleList(self._blocks(blocks[level], widths[level]) for level in range(levels))
        self.down = nn.ModuleList(self._conv(fine, coarse) for fine, coarse in finer)
        self.bottleneck = self._blocks(blocks[-1], widths[-1])
        self.skips = nn.ModuleList(self._blocks(SKIP_BLOCKS[level], widths[level]) for level in range(levels))
        self.up = nn.ModuleList(self._conv(coarse, fine) for fine, coarse in finer)
        self.join = nn.ModuleList(self._conv((fine, fine), fine) for fine, _ in finer)
        self.decoder = nn.ModuleList(self._blocks(blocks[level], widths[level]) for level in range(levels))
        self.concatenate = Concatenate(group)
        self.input_multiple = 2**levels
        # Convolutions of all levels: two per residual block on the way down and up, one down and one up on each coarser
        # level, one after the concatenation on all but the coarsest; 7 x 7 first, 3 x 3 last; a pooling cell.
        residual = sum(2 * (2 if level < levels else 1) * blocks[level] * 2**level for level in range(levels + 1))
        steps = sum(2 * 2**level for level in range(1, levels + 1)) + sum(2**level for level in range(levels))
        self.reach = 3 + residual + steps + 1 + 2**levels - 1

    def features(self, image: Features) -> Features:
        x = self.lifting(image)
        skips = []
        for level, down, skip in zip(self.encoder, self.down, self.skips, strict=True):
            x = level(x)
            skips.append(skip(x))
            x = down(functional.max_pool2d(x, 2))
        x = self.bottleneck(x)
        for up, join, level, skip in zip(
            reversed(self.up), reversed(self.join), reversed(self.decoder), reversed(skips), strict=True
        ):
            upsampled = functional.interpolate(up(x), scale_factor=2, mode="nearest")
            x = level(join(self.concatenate(upsampled, skip)))
        return x

    def _conv(self, in_channels: int | Sequence[int], out_channels: int) -> nn.Sequential:
        return self._normalized(GroupConv2d(self.group, in_channels, out_channels))

    def _normalized(self, conv: GroupConv2d) -> nn.Sequential:
        return nn.Sequential(conv, GroupBatchNorm2d(self.group, conv.out_channels), nn.ReLU(inplace=True))

    def _blocks(self, count: int, channels: int) -> nn.Sequential:
        return nn.Sequential(*(ResidualBlock(self.group, channels) for _ in range(count)))
