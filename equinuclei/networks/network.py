"""What every network is and tells of itself."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from equinuclei.networks.layers import EquivariantModule, Features, GroupMeanConv2d, Slots
from equinuclei.symmetry import Group


class SegmentationNetwork(EquivariantModule):
    """A network from one grey channel to the maps of its target: [N, 1, H, W] float32 -> [N, K, H, W].

    A map is a scalar per pixel, without a direction: a logit, or a distance (`equinuclei.networks.targets`).

    Attributes
    ----------
    group : Group
        The symmetry group under which the maps are equivariant.
    target : str
        What the network learns, one of `equinuclei.specs.TARGETS`.
    normalization : str
        What images are brought to before the network sees them, one of `equinuclei.specs.NORMALIZATIONS`.
    diameter : float or None
        Of the typical nucleus in pixels, at which it works best. None: it learnt from images as they came.
    input_multiple : int
        Height and width of the input must be multiples of it.
    reach : int
        Receptive-field radius in pixels: how far, along either axis, an input pixel can influence a map.
    """

    input_multiple: int
    reach: int
    normalization: str = "standard"
    diameter: float | None = None
    takes_images = gives_images = True

    def __init__(self, group: Group, target: str, head: GroupMeanConv2d) -> None:
        super().__init__()
        self.group, self.target = group, target
        self.head = head

    @abstractmethod
    def features(self, image: Features) -> Features:
        """Features that the head takes, G-major [N, G*C, H, W], of images [N, 1, H, W]; slots of slots."""

    def forward(self, image: Tensor) -> Tensor:
        """Maps [N, K, H, W] of normalised images [N, 1, H, W]. Raises ValueError for another shape."""
        check_images(image, self.input_multiple)
        return self.head(self.features(image))

    def exact(self, image: Tensor) -> Tensor:
        """Exact mode: maps as of `forward` to rounding, and bit-identical under the group.

        exact(g.image) is g.exact(image) to the last bit, for every g of the group, on any device and in any precision,
        as long as convolutions give the same bits for the same input (a fixed number of threads, deterministic
        algorithms). In evaluation mode only; two to five times slower. A plain network has no symmetry to keep, and
        its exact mode is `forward`.
        """
        check_images(image, self.input_multiple)
        return self.head(self.features(Slots.of_image(image, self.group)))

    def set_prior(self, prior: Sequence[float]) -> None:
        """Start from one value per map everywhere (`targets.prior`), so that training does not begin by finding them.

        The head's weights start at zero: from random ones, the few filters of a narrow equivariant network can all
        point to background, and its ReLUs die before one of them turns.
        """
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor(prior))
        nn.init.zeros_(self.head.weight)

    def certificate(self) -> dict[str, Any]:
        """Measured errors of equivariance under all eight elements of p4m, beside the group that should be exact.

        `float64` and `float32` as deployed, `exact` in exact mode (float32); see `check_equivariance`. Every value
        under an element of `group` is rounding, and 0 in exact mode.
        """
        size = (2 * self.input_multiple, 3 * self.input_multiple)
        elements = Group.P4M.elements
        return {
            "group": str(self.group),
            "size": list(size),
            "float64": self.check_equivariance(size, dtype=torch.float64, elements=elements),
            "float32": self.check_equivariance(size, dtype=torch.float32, elements=elements),
            "exact": self.check_equivariance(size, dtype=torch.float32, elements=elements, exact=True),
        }

    def _input_channels(self) -> int:
        return 1

    def _evaluate(self, x: Tensor, exact: bool) -> Tensor:
        return self.exact(x) if exact else self(x)


def check_images(image: Tensor, multiple: int) -> None:
    """Raise ValueError for images that are not [N, 1, H, W], or whose height and width are no multiples of `multiple`.

    Pooling would drop the last row or column of another size, on one side only.
    """
    if image.ndim != 4 or image.shape[1] != 1:
        raise ValueError(f"expected images of shape [N, 1, H, W], not {list(image.shape)}")
    if any(size % multiple for size in image.shape[-2:]):
        raise ValueError(
            f"height and width must be multiples of {multiple}, not {tuple(image.shape[-2:])}; "
            "equinuclei.inference.whole_images.predict_maps pads any size symmetrically"
        )


def model_cost(network: SegmentationNetwork, size: int = 256) -> dict[str, float]:
    """Trainable parameters, and GFLOP of one `size` x `size` image (a multiplication and an addition are two)."""
    example = next(network.parameters())
    was_training = network.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 1, size, size, dtype=example.dtype, device=example.device))
    network.train(was_training)
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return {"parameters": parameters, "gflops": round(counter.get_total_flops() / 1e9, 3)}
