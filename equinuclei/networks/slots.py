"""Features for exact mode: one tensor per group element."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from equinuclei.symmetry import Element, Group


class Slots:
    """Features on a group for exact mode: one tensor per element, each in the frame of its own element.

    With F the features on the group, slot h holds h^-1.(F[h]), [N, C, H, W] (or [N, C, W, H] under quarter turns). When
    g acts on F, the slots are only permuted, F'~[h] = F~[g^-1 h], and none changes. Therefore everything that is
    computed slot by slot, with the same function for all, is bit-identical under the group, in whatever order its sums
    are evaluated. A group convolution transforms the slots instead of its filters.

    torch functions of tensors (relu, max_pool2d, interpolate, ...) also accept slots and are applied to each of them
    (protocol `__torch_function__`), so a network needs no separate code for exact mode.
    """

    def __init__(self, group: Group, tensors: Sequence[Tensor]) -> None:
        if len(tensors) != group.order:
            raise ValueError(f"{group} has {group.order} elements, not {len(tensors)}")
        self.group, self.tensors = group, tuple(tensors)

    @classmethod
    def of_image(cls, image: Tensor, group: Group) -> "Slots":
        """An image [N, C, H, W] as every element of the group sees it: slot h is h^-1.image."""
        return cls(group, [h.inverse(image).clone(memory_format=torch.contiguous_format) for h in group.elements])

    @classmethod
    def of_features(cls, features: Tensor, group: Group) -> "Slots":
        """The slots of G-major features [N, G*C, H, W]."""
        parts = features.unflatten(1, (group.order, -1)).unbind(1)
        return cls(
            group,
            [
                h.inverse(part).clone(memory_format=torch.contiguous_format)
                for h, part in zip(group.elements, parts, strict=True)
            ],
        )

    def features(self) -> Tensor:
        """The G-major features [N, G*C, H, W]."""
        return torch.cat([h(slot) for h, slot in zip(self.group.elements, self.tensors, strict=True)], dim=1)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Slots":
        """Apply one function to every slot."""
        return Slots(self.group, [function(slot) for slot in self.tensors])

    def seen_from(self, element: Element) -> Tensor:
        """The input of an element's filter, [N, G*C, H, W]: for each k, the slot of `element @ k`, transformed by k."""
        turned = [k(self.tensors[self.group.position(element @ k)]) for k in self.group.elements]
        return torch.cat(turned, dim=1)

    def convolve(self, function: Callable[[Tensor], Tensor]) -> "Slots":
        """Apply one function to the input of every element's filter."""
        return Slots(self.group, [function(self.seen_from(h)) for h in self.group.elements])

    def __add__(self, other: "Slots") -> "Slots":
        pairs = zip(self.tensors, other.tensors, strict=True)
        return Slots(self.group, [torch.add(mine, theirs) for mine, theirs in pairs])

    @classmethod
    def __torch_function__(
        cls, function: Callable, _types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> "Slots":
        group = next(a.group for a in args if isinstance(a, Slots))

        def of_slot(value: Any, index: int) -> Any:
            return value.tensors[index] if isinstance(value, Slots) else value

        return Slots(group, [function(*(of_slot(a, i) for a in args), **(kwargs or {})) for i in range(group.order)])


Features = Tensor | Slots
