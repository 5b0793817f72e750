"""Group-equivariant layers on G-major features [N, G*C, H, W].

Feature channel g*C + c is channel c of group element g (the order of `Group.elements`), so that `view(N*G, C, H, W)`
separates the elements without a copy. For the trivial group every layer is its ordinary counterpart.

Every layer can be evaluated in three ways, which agree up to rounding:

- on a tensor, as one ordinary operation with the filter bank, for training and deployment;
- on `equinuclei.networks.slots.Slots`, bit-identical under the group, in exact mode;
- after `fold()`, as the layer of an ordinary network, for fastest evaluation and for export.

Source: Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn import functional

from equinuclei.networks.slots import Features, Slots
from equinuclei.symmetry import Element, Group, act_on_features, filter_bank_index, mean_over_coset

Convolution = TypeVar("Convolution", nn.Conv2d, nn.ConvTranspose2d)


class EquivariantModule(nn.Module, ABC):
    """A module that commutes with a group, and can measure how exactly.

    Subclasses set `group`, and `takes_images` or `gives_images` where input or output are images rather than features
    on the group.
    """

    group: Group
    takes_images = False
    gives_images = False

    def check_equivariance(
        self,
        size: tuple[int, int] = (8, 12),
        *,
        dtype: torch.dtype = torch.float64,
        elements: Sequence[Element] | None = None,
        exact: bool = False,
        seed: int = 0,
    ) -> dict[str, float]:
        """Measured error of equivariance, max |f(g.x) - g.f(x)| / max |f(x)|, by the name of the element g.

        x is a random input of `size` (height, width); f is a copy of this module in evaluation mode and `dtype`, on the
        CPU. `elements` defaults to those of the group. `exact` measures exact mode, where every error is 0.
        """
        module = copy.deepcopy(self).to("cpu", dtype).eval()
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, self._input_channels(), *size, generator=generator, dtype=torch.float64).to(dtype)
        with torch.no_grad():
            expected = module._evaluate(x, exact)
            scale = expected.abs().max().clamp_min(torch.finfo(dtype).tiny)
            errors = {}
            for g in self.group.elements if elements is None else elements:
                moved = g(x) if self.takes_images else act_on_features(g, x, self.group)
                actual = module._evaluate(moved, exact)
                errors[g.name] = ((actual - self._act_on_output(g, expected)).abs().max() / scale).item()
        return errors

    @abstractmethod
    def _input_channels(self) -> int:
        """Number of channels of the input [N, channels, H, W]."""

    def _evaluate(self, x: Tensor, exact: bool) -> Tensor:
        if not exact:
            return self(x)
        output = self(Slots.of_image(x, self.group) if self.takes_images else Slots.of_features(x, self.group))
        return output.features() if isinstance(output, Slots) else output

    def _act_on_output(self, g: Element, output: Tensor) -> Tensor:
        return g(output) if self.gives_images else act_on_features(g, output, self.group)


class _FilterBank(EquivariantModule):
    """Filters of a group layer, one per output channel, and the bank of all their transformed copies.

    `weight` is [C_out, C_in, S, k, k], `bias` [C_out], shared over the group. `bank()` is a single index_select.
    """

    bank_index: Tensor

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
        # Initialisation for ReLU by He et al. 2015; the fan-in includes all input elements of the group.
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

    def _input_channels(self) -> int:
        return self.in_channels * (1 if self.takes_images else self.group.order)

    def extra_repr(self) -> str:
        return f"{self.group}, {self.in_channels} -> {self.out_channels}, kernel {self.kernel_size}"


class GroupConv2d(_FilterBank):
    """Group convolution with zero padding that keeps the size, or halves an even size with stride 2.

    [N, G*C_in, H, W] -> [N, G*C_out, H / stride, W / stride]. Equivariant up to rounding of floating-point sums: the
    kernel lies symmetrically over the `stride` x `stride` pixels that become one, so its size is odd for stride 1 and
    even for stride 2. If the input was joined by `Concatenate`, `in_channels` is the sequence of the channels of its
    parts, which `fold` needs.
    """

    def __init__(
        self,
        group: Group,
        in_channels: int | Sequence[int],
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        bias: bool = True,
        lifting: bool = False,
    ) -> None:
        if kernel_size < stride or (kernel_size - stride) % 2:
            raise ValueError(
                f"a group convolution with stride {stride} needs an {'odd' if stride % 2 else 'even'} kernel to be "
                f"equivariant, not {kernel_size}"
            )
        blocks = _blocks(in_channels)
        super().__init__(group, sum(blocks), out_channels, kernel_size, lifting=lifting, bias=bias)
        self.blocks, self.stride = blocks, stride

    def plain_weight(self) -> Tensor:
        """The bank as the weight of an ordinary convolution, [G*C_out, S*C_in, k, k]."""
        weight = self.bank().permute(2, 0, 3, 1, 4, 5).flatten(2, 3).flatten(0, 1)
        return weight.contiguous(memory_format=self.memory_format)

    def forward(self, features: Features) -> Features:
        placement = {"stride": self.stride, "padding": (self.kernel_size - self.stride) // 2}
        if isinstance(features, Slots):
            # The identity's filters, [C_out, S*C_in, k, k], serve all elements, as each slot is in its own frame.
            weight = self.weight.transpose(1, 2).flatten(1, 2)
            apply = features.map if self.takes_images else features.convolve
            return apply(lambda x: functional.conv2d(x, weight, self.bias, **placement))
        return functional.conv2d(features, self.plain_weight(), self.bank_bias(), **placement)

    def fold(self) -> nn.Conv2d:
        """The ordinary convolution. Its input is the G-major features of the concatenated parts, one after another."""
        bank = self.bank().permute(2, 0, 3, 1, 4, 5).flatten(0, 1)
        weight = torch.cat([block.flatten(1, 2) for block in bank.split(self.blocks, dim=2)], dim=1)
        return plain_conv(weight, self.bank_bias(), self.stride)


class LiftingConv2d(GroupConv2d):
    """Convolution from an image to features on the group: [N, C_in, H, W] -> [N, G*C_out, H / stride, W / stride]."""

    takes_images = True

    def __init__(
        self,
        group: Group,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(group, in_channels, out_channels, kernel_size, stride=stride, bias=bias, lifting=True)


class GroupConvTranspose2d(_FilterBank):
    """Transposed group convolution with kernel 2 and stride 2: [N, G*C_in, H, W] -> [N, G*C_out, 2H, 2W].

    Every input pixel becomes a 2 x 2 block, so a rotated kernel on a rotated grid gives rotated blocks: equivariant at
    every size.
    """

    def __init__(self, group: Group, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(group, in_channels, out_channels, 2, lifting=False, bias=bias)
        # Only one of the four taps reaches an output pixel: a quarter of the fan-in.
        nn.init.normal_(self.weight, std=math.sqrt(2 / (in_channels * group.order)))

    def plain_weight(self) -> Tensor:
        """The bank as the weight of an ordinary transposed convolution, [S*C_in, G*C_out, 2, 2]."""
        weight = self.bank().permute(3, 1, 2, 0, 4, 5).flatten(2, 3).flatten(0, 1)
        return weight.contiguous(memory_format=self.memory_format)

    def forward(self, features: Features) -> Features:
        if isinstance(features, Slots):
            weight = self.weight.permute(2, 1, 0, 3, 4).flatten(0, 1)
            return features.convolve(lambda x: functional.conv_transpose2d(x, weight, self.bias, stride=2))
        return functional.conv_transpose2d(features, self.plain_weight(), self.bank_bias(), stride=2)

    def fold(self) -> nn.ConvTranspose2d:
        """The ordinary transposed convolution."""
        weight, bias = self.plain_weight(), self.bank_bias()
        in_channels, out_channels = weight.shape[:2]
        conv = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2, bias=bias is not None)
        return _with_parameters(conv, weight, bias)


class GroupBatchNorm2d(nn.BatchNorm2d, EquivariantModule):
    """Batch norm whose statistics and parameters are shared over the group: [N, G*C, H, W], `num_features` = C.

    Statistics per group element would break equivariance, because a rotated image permutes the elements. If the input
    was joined by `Concatenate`, `num_features` is the sequence of the channels of its parts.
    """

    def __init__(self, group: Group, num_features: int | Sequence[int]) -> None:
        blocks = _blocks(num_features)
        super().__init__(sum(blocks))
        self.group, self.blocks = group, blocks

    @overload
    def forward(self, features: Tensor) -> Tensor: ...

    @overload
    def forward(self, features: Slots) -> Slots: ...

    def forward(self, features: Features) -> Features:
        if isinstance(features, Slots):
            return features.map(super().forward)
        n, channels, height, width = features.shape
        separate = features.reshape(n * self.group.order, channels // self.group.order, height, width)
        return super().forward(separate).reshape(n, channels, height, width)

    def fold(self) -> nn.BatchNorm2d:
        """The ordinary batch norm in evaluation mode; input as for `GroupConv2d.fold`."""
        norm = nn.BatchNorm2d(self.group.order * self.num_features, eps=self.eps).to(self.weight)
        for name in ("weight", "bias", "running_mean", "running_var"):
            blocks = getattr(self, name).detach().split(self.blocks)
            getattr(norm, name).data.copy_(torch.cat([block.repeat(self.group.order) for block in blocks]))
        return norm.eval()

    def _input_channels(self) -> int:
        return self.group.order * self.num_features


class Concatenate(nn.Module):
    """Join G-major features along the channels of each group element: G*C1, G*C2, ... -> G*(C1 + C2 + ...)."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    def forward(self, *features: Features) -> Features:
        slots = [part.tensors for part in features if isinstance(part, Slots)]
        if slots:
            return Slots(self.group, [torch.cat(tensors, dim=1) for tensors in zip(*slots, strict=True)])
        return self._join([part for part in features if isinstance(part, Tensor)])

    def _join(self, features: list[Tensor]) -> Tensor:
        if self.group is Group.TRIVIAL:
            return torch.cat(features, dim=1)
        if all(f.is_contiguous(memory_format=torch.channels_last) for f in features):
            # Joined in their memory layout: torch would copy five-dimensional views to another format and back.
            channels_last = [f.permute(0, 2, 3, 1).unflatten(3, (self.group.order, -1)) for f in features]
            return torch.cat(channels_last, dim=4).flatten(3).permute(0, 3, 1, 2)
        return torch.cat([f.unflatten(1, (self.group.order, -1)) for f in features], dim=2).flatten(1, 2)

    def fold(self) -> "Concatenate":
        """Plain concatenation: the folded layers no longer distinguish group elements."""
        return Concatenate(Group.TRIVIAL)


class GroupMeanConv2d(GroupConv2d):
    """A group convolution followed by the mean over the group: [N, G*C_in, H, W] -> [N, C_out, H, W].

    The head of a network, whose outputs are equivariant images. It is linear and folds into one ordinary convolution. A
    plain convolution in its place would not be equivariant.
    """

    gives_images = True

    def forward(self, features: Features) -> Tensor:
        convolved = super().forward(features)
        if isinstance(convolved, Slots):
            return mean_over_coset({h: h(slot) for h, slot in zip(self.group.elements, convolved.tensors, strict=True)})
        return convolved.unflatten(1, (self.group.order, -1)).mean(dim=1)

    def fold(self) -> nn.Conv2d:
        """The ordinary convolution to C_out channels; input as for `GroupConv2d.fold`."""
        unpooled = super().fold()
        weight = unpooled.weight.unflatten(0, (self.group.order, -1)).mean(dim=0)
        return plain_conv(weight, self.bias)


def plain_conv(weight: Tensor, bias: Tensor | None, stride: int = 1) -> nn.Conv2d:
    """An ordinary convolution with a weight [C_out, C_in, k, k] that divides height and width by its stride."""
    out_channels, in_channels, k, _ = weight.shape
    conv = nn.Conv2d(in_channels, out_channels, k, stride, padding=(k - stride) // 2, bias=bias is not None)
    return _with_parameters(conv, weight, bias)


def use_channels_last(module: nn.Module) -> None:
    """Let every group layer of a module compute in the channels-last memory format, which is faster on most hardware.

    A convolution uses the memory format of its weight.
    """
    for layer in module.modules():
        if isinstance(layer, _FilterBank):
            layer.memory_format = torch.channels_last


def _blocks(channels: int | Sequence[int]) -> tuple[int, ...]:
    return (channels,) if isinstance(channels, int) else tuple(channels)


def _with_parameters(conv: Convolution, weight: Tensor, bias: Tensor | None) -> Convolution:
    conv.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone())
    return conv.eval()
