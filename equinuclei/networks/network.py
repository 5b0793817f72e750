"""The common base of all segmentation networks."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from equinuclei.networks.layers import EquivariantModule, GroupMeanConv2d
from equinuclei.networks.slots import Features, Slots
from equinuclei.symmetry import Group


class SegmentationNetwork(EquivariantModule):
    """A network that turns grey images into the maps of its target: [N, 1, H, W] float32 -> [N, K, H, W].

    A map holds one scalar per pixel, without a direction: a logit or a distance (`equinuclei.networks.targets`).

    Attributes
    ----------
    group : Group
        The symmetry group under which the maps are equivariant.
    target : str
        What the network learns, a key of `equinuclei.specs.TARGETS`.
    normalization : str
        How images are normalised before the network sees them, one of `equinuclei.specs.NORMALIZATIONS`.
    diameter : float or None
        Diameter of the typical nucleus, in pixels, that it works best with. None: it was trained on images at their own
        scale.
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
        """G-major features [N, G*C, H, W] for the head, from images [N, 1, H, W]; slots from slots."""

    def forward(self, image: Tensor) -> Tensor:
        """Maps [N, K, H, W] of normalised images [N, 1, H, W]. Raises ValueError for another shape."""
        check_images(image, self.input_multiple)
        return self.head(self.features(image))

    def exact(self, image: Tensor) -> Tensor:
        """Exact mode: the maps of `forward` up to rounding, and bit-identical under the group.

        exact(g.image) equals g.exact(image) to the last bit, for every g in the group, on any device and in any
        precision, provided that convolutions give the same bits for the same input (a fixed number of threads,
        deterministic algorithms). For evaluation mode only, and two to five times slower. A plain network has no
        symmetry to preserve; its exact mode is `forward`.
        """
        check_images(image, self.input_multiple)
        return self.head(self.features(Slots.of_image(image, self.group)))

    def set_prior(self, prior: Sequence[float]) -> None:
        """Initialise the head so that each map is constant (`targets.prior`), which training need not learn then.

        The head's weights start at zero. With random weights, all of the few filters of a narrow equivariant network
        may predict background, and its ReLUs die before one of them changes. Raises ValueError if the head has no bias.
        """
        if self.head.bias is None:
            raise ValueError("the head of the network has no bias to initialise")
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor(prior))
        nn.init.zeros_(self.head.weight)

    def certificate(self) -> dict[str, Any]:
        """Measured errors of equivariance under all eight elements of p4m, with the network's `group`.

        `float64` and `float32` are measured as deployed, `exact` in exact mode (float32); see `check_equivariance`. For
        elements of `group` the errors are rounding errors, and 0 in exact mode.
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
    """Raise ValueError unless images are [N, 1, H, W] with height and width multiples of `multiple`.

    For other sizes, pooling would drop the last row or column, on one side only.
    """
    if image.ndim != 4 or image.shape[1] != 1:
        raise ValueError(f"expected images of shape [N, 1, H, W], not {list(image.shape)}")
    if any(size % multiple for size in image.shape[-2:]):
        raise ValueError(
            f"height and width must be multiples of {multiple}, not {tuple(image.shape[-2:])}; "
            "equinuclei.inference.whole_images.predict_maps pads any size symmetrically"
        )


def model_cost(network: SegmentationNetwork, size: int = 256) -> dict[str, float]:
    """Trainable parameters, and GFLOP for one `size` x `size` image (a multiply-add counts as two)."""
    example = next(network.parameters())
    was_training = network.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 1, size, size, dtype=example.dtype, device=example.device))
    network.train(was_training)
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return {"parameters": parameters, "gflops": round(counter.get_total_flops() / 1e9, 3)}
