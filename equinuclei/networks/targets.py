"""What networks learn, and how their maps become losses, probabilities and predictions on disk.

| target | maps [N, K, H, W] | truth, uint8 (`masks`) | prediction codes, uint8 |
|---|---|---|---|
| binary | logit of foreground | 0, 1 | 1 |
| distance | logit of foreground; distance to the nucleus' border, 1 in its middle | 1 to 255 in a nucleus | 1 to 255 |
| three_class | logits of background, border, nucleus | 1 border, 2 nucleus | 1 border, 2 nucleus |

0 is background in truths and codes. All maps are scalars without a direction, so the head of an equivariant network
makes them as it makes one. Everything between maps and codes is decided pixel by pixel by comparisons and correctly
rounded arithmetic: equal maps give equal codes, wherever a pixel lies.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NO_IMAGE = -1e4
"""Foreground logit where there is no image. Finite, so that differences of logits are numbers; its probability is 0 in
float32."""

DISTANCE_WEIGHT = 1.0
"""Weight of the distance's mean absolute error against the binary cross-entropy of the foreground."""


class Target(ABC):
    """What a network learns. `maps` are its outputs, float tensors [N, K, H, W]."""

    no_image: tuple[float, ...]
    """The maps where there is no image."""

    @abstractmethod
    def prior(self, truths: Sequence[np.ndarray]) -> list[float]:
        """A value per map to start from, given the truths (y, x) of the images to learn."""

    @abstractmethod
    def loss(self, maps: Tensor, truth: Tensor) -> Tensor:
        """The mean over all pixels; truth is [N, 1, H, W] float32, with the values of the table above."""

    @abstractmethod
    def foreground(self, maps: Tensor) -> Tensor:
        """Logit of foreground, [N, 1, H, W]: above 0 where a pixel is predicted to be of a nucleus."""

    @abstractmethod
    def encode(self, maps: Tensor, foreground: Tensor) -> Tensor:
        """The codes of foreground pixels, [N, 1, H, W] of numbers 1 to 255; whatever for others."""

    def probability(self, maps: np.ndarray) -> np.ndarray:
        """Probability of foreground, float32 (y, x), of the maps (K, y, x) of an image."""
        return torch.sigmoid(self.foreground(torch.from_numpy(maps)[None]))[0, 0].numpy()

    def codes(self, maps: np.ndarray) -> np.ndarray:
        """Prediction codes, uint8 (y, x), of the maps (K, y, x) of an image."""
        batch = torch.from_numpy(maps)[None]
        foreground = self.foreground(batch) > 0
        return torch.where(foreground, self.encode(batch, foreground), 0)[0, 0].to(torch.uint8).numpy()


class Binary(Target):
    """Foreground alone, as in the reference study."""

    no_image = (NO_IMAGE,)

    def prior(self, truths: Sequence[np.ndarray]) -> list[float]:
        """The log-odds of a foreground pixel."""
        nucleus = sum(int(np.count_nonzero(truth)) for truth in truths)
        fraction = _within_bounds(nucleus / max(1, sum(truth.size for truth in truths)))
        return [math.log(fraction / (1 - fraction))]

    def loss(self, maps: Tensor, truth: Tensor) -> Tensor:
        """Binary cross-entropy."""
        return functional.binary_cross_entropy_with_logits(maps, (truth > 0).to(maps.dtype))

    def foreground(self, maps: Tensor) -> Tensor:
        return maps[:, :1]

    def encode(self, maps: Tensor, foreground: Tensor) -> Tensor:
        return foreground


class Distance(Binary):
    """Foreground, and the distance of its pixels to the border of their nucleus."""

    no_image = (NO_IMAGE, 0.0)

    def prior(self, truths: Sequence[np.ndarray]) -> list[float]:
        """The log-odds of a foreground pixel, and the distance of the background."""
        return [*super().prior(truths), 0.0]

    def loss(self, maps: Tensor, truth: Tensor) -> Tensor:
        """Binary cross-entropy of the foreground, and mean absolute error of the distance (0 in the background)."""
        return super().loss(maps[:, :1], truth) + DISTANCE_WEIGHT * functional.l1_loss(maps[:, 1:], truth / 255)

    def encode(self, maps: Tensor, foreground: Tensor) -> Tensor:
        """The distance in steps of 1/255, at least 1."""
        return (255 * maps[:, 1:]).round().clamp(1, 255)


class ThreeClass(Target):
    """Background, border and nucleus. Border and nucleus are foreground: the more likely of the two counts."""

    no_image = (0.0, NO_IMAGE, NO_IMAGE)

    def prior(self, truths: Sequence[np.ndarray]) -> list[float]:
        """The logarithms of the classes' shares."""
        counts = sum((np.bincount(truth.ravel(), minlength=3) for truth in truths), np.zeros(3, np.int64))
        return [math.log(_within_bounds(count / max(1, counts.sum()))) for count in counts.tolist()]

    def loss(self, maps: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy, as a product: torch has no deterministic one for images on a GPU."""
        classes = functional.one_hot(truth[:, 0].long(), 3).movedim(-1, 1)
        return -(functional.log_softmax(maps, dim=1) * classes).sum(dim=1).mean()

    def foreground(self, maps: Tensor) -> Tensor:
        return maps[:, 1:].amax(dim=1, keepdim=True) - maps[:, :1]

    def encode(self, maps: Tensor, foreground: Tensor) -> Tensor:
        return 1 + (maps[:, 2:] > maps[:, 1:2]).to(torch.uint8)


def target_of(name: str) -> Target:
    """The target of a name in the configuration, one of `equinuclei.specs.TARGETS`."""
    return _BY_NAME[name]


_BY_NAME: dict[str, Target] = {"binary": Binary(), "distance": Distance(), "three_class": ThreeClass()}


def _within_bounds(fraction: float) -> float:
    return min(max(fraction, 1e-4), 1 - 1e-4)
