"""GDenseNet: a densely connected network for segmentation and classification, plain or equivariant by its group.

Veeling et al., Rotation Equivariant CNNs for Digital Pathology, MICCAI 2018 (arXiv:1806.03962): dense blocks of one
layer, separated by 1 x 1 transitions and average pooling. For segmentation, a decoder of the same layers is added.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from equinuclei.networks.layers import (
    Concatenate,
    EquivariantModule,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupMeanConv2d,
    LiftingConv2d,
)
from equinuclei.networks.network import SegmentationNetwork, check_images
from equinuclei.networks.slots import Features, Slots
from equinuclei.specs import TARGETS
from equinuclei.symmetry import Element, Group


def normalized_conv(group: Group, in_channels: int | Sequence[int], out_channels: int, kernel_size: int) -> nn.Module:
    """Batch norm, ReLU, convolution."""
    return nn.Sequential(
        GroupBatchNorm2d(group, in_channels),
        nn.ReLU(inplace=True),
        GroupConv2d(group, in_channels, out_channels, kernel_size, bias=False),
    )


class DenseLayer(nn.Module):
    """A 3 x 3 layer whose output is appended to its input: channels C -> C + growth, per group element."""

    def __init__(self, group: Group, in_channels: int | Sequence[int], growth: int) -> None:
        super().__init__()
        self.layer = normalized_conv(group, in_channels, growth, kernel_size=3)
        self.concatenate = Concatenate(group)

    def forward(self, features: Features) -> Features:
        return self.concatenate(features, self.layer(features))


class DenseEncoder(nn.Module):
    """A lifting convolution, followed by one dense layer per level, with transitions and 2 x 2 average pooling between.

    growths : channels per group element that each level adds. `blocks[l]` are the channels of the features that level
    l returns, which are a concatenation of two.
    """

    def __init__(self, group: Group, growths: Sequence[int]) -> None:
        super().__init__()
        self.lifting = LiftingConv2d(group, 1, growths[0], bias=False)
        self.dense, self.transitions = nn.ModuleList(), nn.ModuleList()
        self.blocks: list[tuple[int, int]] = []
        channels = growths[0]
        for growth in growths:
            if self.blocks:
                self.transitions.append(normalized_conv(group, self.blocks[-1], channels, kernel_size=1))
            self.dense.append(DenseLayer(group, channels, growth))
            self.blocks.append((channels, growth))
            channels += growth

    def forward(self, image: Features) -> list[Features]:
        """The features of every level, from the finest to the coarsest."""
        levels = [self.dense[0](self.lifting(image))]
        for transition, dense in zip(self.transitions, self.dense[1:], strict=True):
            levels.append(dense(functional.avg_pool2d(transition(levels[-1]), 2)))
        return levels


class GDenseNet(SegmentationNetwork):
    """GDenseNet for segmentation. The last of `widths` is that of the bottleneck, with one pooling between levels.

    Widths are growths: the channels per group element that the dense layer of a level adds. A level of the decoder
    consists of a 1 x 1 convolution to twice its width, nearest-neighbour upsampling by 2, concatenation with the
    encoder's features, and a dense layer. Raises ValueError for fewer than two widths, or one below 1.
    """

    def __init__(self, group: str, widths: Sequence[int], *, target: str = "binary") -> None:
        group = Group(group)
        widths = [int(width) for width in widths]
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"expected at least 2 positive widths, not {widths}")
        encoder = DenseEncoder(group, widths)
        squeezes, dense = [], []
        below: Sequence[int] = encoder.blocks[-1]
        for width, skip in zip(reversed(widths[:-1]), reversed(encoder.blocks[:-1]), strict=True):
            squeezes.append(normalized_conv(group, below, 2 * width, kernel_size=1))
            joined = (2 * width, *skip)
            dense.append(DenseLayer(group, joined, width))
            below = (*joined, width)
        super().__init__(group, target, GroupMeanConv2d(group, below, TARGETS[target], kernel_size=1))
        self.encoder = encoder
        self.squeezes, self.dense = nn.ModuleList(squeezes), nn.ModuleList(dense)
        self.last = nn.Sequential(GroupBatchNorm2d(group, below), nn.ReLU(inplace=True))
        self.concatenate = Concatenate(group)
        poolings = len(widths) - 1
        self.input_multiple = 2**poolings
        # The lifting convolution, the dense layers on the way down, at the bottom and up, and a pooling cell.
        down = sum(2**level for level in range(poolings))
        self.reach = 1 + down + 2**poolings + down + 2**poolings - 1

    def features(self, image: Features) -> Features:
        *skips, x = self.encoder(image)
        for squeeze, dense, skip in zip(self.squeezes, self.dense, reversed(skips), strict=True):
            upsampled = functional.interpolate(squeeze(x), scale_factor=2, mode="nearest")
            x = dense(self.concatenate(upsampled, skip))
        return self.last(x)


class GDenseNetClassifier(EquivariantModule):
    """The classification network of the paper: class logits [N, classes] that are invariant under the group.

    Takes images [N, 1, H, W] with height and width multiples of `input_multiple`. The coarsest features are averaged
    over the image; a 1 x 1 group convolution and the mean over the group yield the logits. Raises ValueError if there
    are no widths, or a width or the number of classes is below 1.
    """

    takes_images = gives_images = True

    def __init__(self, group: str, widths: Sequence[int], classes: int) -> None:
        if not widths or min(*widths, classes) < 1:
            raise ValueError(f"expected positive widths and classes, not {list(widths)} and {classes}")
        super().__init__()
        self.group = Group(group)
        self.encoder = DenseEncoder(self.group, widths)
        blocks = self.encoder.blocks[-1]
        self.last = nn.Sequential(GroupBatchNorm2d(self.group, blocks), nn.ReLU(inplace=True))
        self.head = GroupMeanConv2d(self.group, blocks, classes, kernel_size=1)
        self.input_multiple = 2 ** (len(widths) - 1)

    def forward(self, image: Tensor) -> Tensor:
        """Class logits [N, classes] of standardised images [N, 1, H, W]. Raises ValueError for another shape."""
        check_images(image, self.input_multiple)
        return self._logits(image)

    def exact(self, image: Tensor) -> Tensor:
        """Class logits that are bit-identical under the group; see `SegmentationNetwork.exact`."""
        check_images(image, self.input_multiple)
        return self._logits(Slots.of_image(image, self.group))

    def _logits(self, image: Features) -> Tensor:
        features = functional.adaptive_avg_pool2d(self.last(self.encoder(image)[-1]), 1)
        return self.head(features).flatten(1)

    def _input_channels(self) -> int:
        return 1

    def _evaluate(self, x: Tensor, exact: bool) -> Tensor:
        return self.exact(x) if exact else self(x)

    def _act_on_output(self, g: Element, output: Tensor) -> Tensor:
        return output  # invariant
