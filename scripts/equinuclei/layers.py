"""Group-equivariant layers on G-major features [N, G*C, H, W].

Feature channel g*C + c is channel c of group element g (the order of `Group.elements`), so that `view(N*G, C, H, W)`
separates the elements without a copy. For the trivial group every layer is its ordinary counterpart.

Source: Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from equinuclei.symmetry import Group, filter_bank_index


class _FilterBank(nn.Module):
    """Filters of a group layer, one per output channel, and the bank of all their transformed copies.

    `weight` is [C_out, C_in, S, k, k], `bias` [C_out], shared over the group. `bank()` is one index_select.
    """

    def __init__(
        self, group: Group, in_channels: int, out_channels: int, kernel_size: int, *, lifting: bool, bias: bool
    ) -> None:
        super().__init__()
        index = torch.from_numpy(filter_bank_index(group, kernel_size, lifting=lifting))
        stack = index.shape[1]
        self.group = group
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, stack, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.memory_format = torch.contiguous_format
        self.register_buffer("bank_index", index.flatten(), persistent=False)
        # He et al. 2015 for ReLU: the fan-in counts every input element of the group.
        fan_in = in_channels * stack * kernel_size**2
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_in))

    def bank(self) -> Tensor:
        """The filter bank [C_out, C_in, G, S, k, k]."""
        out_channels, in_channels, stack, k, _ = self.weight.shape
        if self.group is Group.TRIVIAL:
            return self.weight.unsqueeze(2)
        taps = self.weight.flatten(2).index_select(2, self.bank_index)
        return taps.view(out_channels, in_channels, self.group.order, stack, k, k)

    def bank_bias(self) -> Tensor | None:
        """The bias of every output channel, [G*C_out]."""
        return None if self.bias is None else self.bias.repeat(self.group.order)

    def extra_repr(self) -> str:
        return f"{self.group}, {self.in_channels} -> {self.out_channels}, kernel {self.kernel_size}"


class GroupConv2d(_FilterBank):
    """Stride-1 group convolution with an odd kernel and zero padding that keeps the size.

    [N, G*C_in, H, W] -> [N, G*C_out, H, W]. Equivariant up to the rounding of floating-point sums.
    """

    def __init__(
        self, group: Group, in_channels: int, out_channels: int, kernel_size: int = 3, *, bias: bool = True
    ) -> None:
        super().__init__(group, in_channels, out_channels, _odd(kernel_size), lifting=False, bias=bias)

    def plain_weight(self) -> Tensor:
        """The bank as the weight of an ordinary convolution, [G*C_out, S*C_in, k, k]."""
        weight = self.bank().permute(2, 0, 3, 1, 4, 5).flatten(2, 3).flatten(0, 1)
        return weight.contiguous(memory_format=self.memory_format)

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv2d(features, self.plain_weight(), self.bank_bias(), padding=self.kernel_size // 2)


class LiftingConv2d(GroupConv2d):
    """Convolution from an image to features on the group: [N, C_in, H, W] -> [N, G*C_out, H, W]."""

    def __init__(
        self, group: Group, in_channels: int, out_channels: int, kernel_size: int = 3, *, bias: bool = True
    ) -> None:
        _FilterBank.__init__(self, group, in_channels, out_channels, _odd(kernel_size), lifting=True, bias=bias)


class GroupConvTranspose2d(_FilterBank):
    """Transposed group convolution with kernel 2 and stride 2: [N, G*C_in, H, W] -> [N, G*C_out, 2H, 2W].

    Every input pixel becomes a 2 x 2 block, so a turned kernel on a turned grid gives the turned blocks: exact at
    every size.
    """

    def __init__(self, group: Group, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(group, in_channels, out_channels, 2, lifting=False, bias=bias)
        # Each output pixel is reached by one of the four taps only: a quarter of the fan-in.
        nn.init.normal_(self.weight, std=math.sqrt(2 / (in_channels * group.order)))

    def plain_weight(self) -> Tensor:
        """The bank as the weight of an ordinary transposed convolution, [S*C_in, G*C_out, 2, 2]."""
        weight = self.bank().permute(3, 1, 2, 0, 4, 5).flatten(2, 3).flatten(0, 1)
        return weight.contiguous(memory_format=self.memory_format)

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv_transpose2d(features, self.plain_weight(), self.bank_bias(), stride=2)


class GroupBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics and parameters are shared over the group: [N, G*C, H, W], `num_features` = C.

    Statistics per group element would break equivariance: a turned image permutes the elements.
    """

    def __init__(self, group: Group, num_features: int) -> None:
        super().__init__(num_features)
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        n, channels, height, width = features.shape
        folded = features.reshape(n * self.group.order, channels // self.group.order, height, width)
        return super().forward(folded).reshape(n, channels, height, width)


class GroupMean(nn.Module):
    """Mean over the group: [N, G*C, H, W] -> [N, C, H, W]. An equivariant image per channel."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        return features.unflatten(1, (self.group.order, -1)).mean(dim=1)


def concatenate(group: Group, features: Sequence[Tensor]) -> Tensor:
    """Concatenate G-major features along the channels of each group element: G*C1, G*C2, ... -> G*(C1 + C2 + ...)."""
    if group is Group.TRIVIAL:
        return torch.cat(tuple(features), dim=1)
    return torch.cat([f.unflatten(1, (group.order, -1)) for f in features], dim=2).flatten(1, 2)


def use_channels_last(module: nn.Module) -> None:
    """Let every group layer of a module compute in the channels-last memory format, from its weights on.

    Faster on most hardware: the format of a convolution follows its weight's.
    """
    for layer in module.modules():
        if isinstance(layer, _FilterBank):
            layer.memory_format = torch.channels_last


def _odd(kernel_size: int) -> int:
    if kernel_size % 2 == 0:
        raise ValueError(f"a group convolution needs an odd kernel to be equivariant, not {kernel_size}")
    return kernel_size
