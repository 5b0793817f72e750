"""Random crops from images held in memory, on the CPU or on the GPU.

Images keep their stored dtype (a quarter to a half of float32's bytes) and are normalised as they are cropped.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from equinuclei.images.intensity import normalization_statistics
from equinuclei.symmetry import IDENTITY, Element, Group
from equinuclei.training.augmentation import photometric, resize_crop, zoom_factors

AUGMENTATION_GROUPS = {"none": Group.TRIVIAL, "rotations": Group.P4, "dihedral": Group.P4M}


class CropSampler:
    """Batches of crops: an epoch is as many crops as there are images, or `crops`, in random order and place.

    Without `groups` that is one crop per image. With `groups` a group is drawn for each crop, then one of its images,
    so that a field of view with many images counts no more than one with a single image.

    Every random choice follows from (seed, epoch), so an epoch is the same whether training was interrupted or not.

    Parameters
    ----------
    images : arrays (y, x), any real dtype up to 32 bits
    targets : arrays (y, x), bool or uint8, as `images`
    crops : crops per epoch; their numbers per image differ by one at most. None is one per image
    crop : edge of the square crop in pixels; an image that is smaller is continued by its reflection on both sides
    batch_size : crops per batch; the last batch of an epoch may be smaller
    augmentation : "none", "rotations" (quarter turns) or "dihedral" (quarter turns and mirrors); one random element per
        crop
    zoom : crops are magnified by 1 / zoom to zoom
    magnifications : a factor per image, applied besides; None for 1
    normalization : see `intensity.normalization_statistics`
    photometric : whether crops undergo `augmentation.photometric`
    groups : a name per image, or None
    seed : of all random choices
    device : where the images are held and cropped; a GPU that cannot hold them leaves them on the CPU
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        *,
        crop: int,
        batch_size: int,
        crops: int | None = None,
        augmentation: str = "none",
        zoom: float = 1.0,
        magnifications: Sequence[float] | None = None,
        normalization: str = "standard",
        photometric: bool = False,
        groups: Sequence[str] | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.crop, self.batch_size, self.seed = crop, batch_size, seed
        self.device = torch.device(device)
        self.elements = AUGMENTATION_GROUPS[augmentation].elements
        self.zoom, self.photometric = zoom, photometric
        self.rows = range(len(images))
        self.crops = crops or len(images)
        self._weights = None if groups is None else _equal_groups(groups)
        self.magnifications = np.ones(len(images)) if magnifications is None else np.asarray(magnifications, float)
        statistics = [normalization_statistics(image, method=normalization) for image in images]
        self._offsets, self._scales = np.array(statistics, dtype=np.float32).T
        self._scales = np.where(self._scales > 0, self._scales, 1)
        held = self._holding_device(
            sum(image.nbytes + target.size for image, target in zip(images, targets, strict=True))
        )
        self._images = [torch.from_numpy(np.ascontiguousarray(image)).to(held) for image in images]
        self._targets = [torch.from_numpy(np.ascontiguousarray(target)).to(held) for target in targets]

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.crops // self.batch_size)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of one epoch: normalised crops and targets, both [B, 1, crop, crop] float32 on the device."""
        rng = np.random.default_rng([self.seed, number])
        rounds = -(-self.crops // len(self.rows))
        order = np.concatenate([rng.permutation(len(self.rows)) for _ in range(rounds)])[: self.crops]
        # Drawn for the whole epoch at once, and for every augmentation alike: all models see the same crops.
        places = rng.random((len(order), 2))
        turns = rng.integers(0, 2**31, len(order)) % len(self.elements)
        if self._weights is not None:
            order = rng.choice(len(order), len(order), p=self._weights)
        factors = zoom_factors(rng, self.zoom, len(order))
        exposures = [rng.spawn(1)[0] if self.photometric else None for _ in order]
        for start in range(0, len(order), self.batch_size):
            batch = slice(start, start + self.batch_size)
            elements = [self.elements[t] for t in turns[batch]]
            yield self._batch(order[batch], places[batch], elements, factors[batch], exposures[batch])

    def centre_crops(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the central crop of every image, in order, without augmentation: to follow a held-out part."""
        for start in range(0, len(self.rows), self.batch_size):
            rows = self.rows[start : start + self.batch_size]
            count = len(rows)
            yield self._batch(rows, np.full((count, 2), 0.5), [IDENTITY] * count, np.ones(count), [None] * count)

    def _batch(
        self,
        numbers: Iterable[int],
        places: np.ndarray,
        elements: Sequence[Element],
        factors: np.ndarray,
        exposures: Sequence[np.random.Generator | None],
    ) -> tuple[Tensor, Tensor]:
        crops, targets = [], []
        for row, place, element, factor, exposure in zip(numbers, places, elements, factors, exposures, strict=True):
            image, target = self._images[row], self._targets[row]
            edge = max(1, round(self.crop / (factor * self.magnifications[row])))
            rows, columns = (_window(p, size, edge, image.device) for p, size in zip(place, image.shape, strict=True))
            if isinstance(rows, Tensor) or isinstance(columns, Tensor):
                image = image.to(torch.float32)  # CUDA has no indexing of uint16 by a tensor
            crop = image[rows][:, columns].to(self.device, torch.float32)
            crop = (crop - float(self._offsets[row])) / float(self._scales[row])
            crop, truth = resize_crop(crop, target[rows][:, columns].to(self.device, torch.float32), self.crop)
            crops.append(element(crop if exposure is None else photometric(crop, exposure)))
            targets.append(element(truth))
        return torch.stack(crops).unsqueeze(1), torch.stack(targets).unsqueeze(1)

    def _holding_device(self, nbytes: int) -> torch.device:
        if self.device.type != "cuda":
            return self.device
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.device if nbytes < free / 2 else torch.device("cpu")


def _equal_groups(groups: Sequence[str]) -> np.ndarray:
    """The probability of every image that makes all groups equally likely."""
    _, place, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    return 1 / (len(sizes) * sizes[place])


def _window(place: float, size: int, edge: int, device: torch.device) -> slice | Tensor:
    """Indices of `edge` pixels along an axis of `size`, at a place from 0 to 1; reflected where there are too few."""
    if edge <= size:
        start = int(place * (size - edge + 1))
        return slice(start, start + edge)
    short = edge - size
    indices = np.pad(np.arange(size), (short // 2, short - short // 2), mode="symmetric")
    return torch.from_numpy(indices).to(device)
