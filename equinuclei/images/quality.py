"""Quality of an image: what its pixels tell, by themselves and with the nuclei that were found in them."""

import numpy as np
from scipy import ndimage

_NEXT_VALUES = 8


def contrast_score(image: np.ndarray, nuclei: np.ndarray, imaged: np.ndarray | None = None) -> float:
    """How far the nuclei of an image stand out: positive where they are brighter than the background, else negative.

    The difference of the medians of nuclei and background, by the standard deviation of the background (estimated by
    its median absolute deviation); at most 1000 in size. NaN where there are no nuclei, or no background.

    image : (y, x), stored dtype; nuclei, imaged : bool (y, x), which pixels are in a nucleus, and which were imaged
    (None: all)
    """
    inside, outside = image[_of(nuclei, imaged)], image[_of(~nuclei, imaged)]
    if not inside.size or not outside.size:
        return float("nan")
    middle = float(np.median(outside))
    spread = 1.4826 * float(np.median(np.abs(outside.astype(np.float64) - middle)))
    difference = float(np.median(inside)) - middle
    return float(np.clip(difference / max(spread, 1e-12), -1000, 1000)) if difference else 0.0


def focus_score(image: np.ndarray) -> float:
    """Sharpness of an image (y, x), stored dtype: variance of its Laplacian by the squared mean, 0 for a black image.

    Pech-Pacheco et al. 2000; divided by the squared mean, it does not change when the exposure does. It compares
    images of one plate, channel and magnification.
    """
    image = np.asarray(image, np.float64)
    mean = image.mean()
    return float(ndimage.laplace(image, mode="nearest").var() / mean**2) if mean > 0 else 0.0


def saturated_share(image: np.ndarray) -> float:
    """Share of pixels of an image (y, x), stored dtype, at its largest value, if these were cut off there.

    They were if the largest value is that of the unsigned dtype or of a 12- or 14-bit camera, or if more pixels have it
    than the next lower `_NEXT_VALUES` values together: a detector, or a conversion, ends at any value. 0 for an image
    of one value, and of two, as a mask has.
    """
    values, counts = np.unique(image, return_counts=True)
    if len(values) <= 2 and image.dtype.kind != "u":
        return 0.0
    limits = {np.iinfo(image.dtype).max, 2**12 - 1, 2**14 - 1} if image.dtype.kind == "u" else set()
    limits = {255} if image.dtype == np.uint8 else limits
    at_limit = bool(len(values)) and int(values[-1]) in limits
    piled_up = len(values) > _NEXT_VALUES and counts[-1] > counts[-1 - _NEXT_VALUES : -1].sum()
    return float(counts[-1] / image.size) if at_limit or piled_up else 0.0


def skewness_score(image: np.ndarray) -> float:
    """Which way the grey values of an image (y, x) are skewed, -1 to 1: positive if most are dark and few are bright.

    (mean - median) / standard deviation, Pearson's second coefficient without its factor of 3, after a Gaussian of one
    pixel against noise. Stained nuclei on a dark background give 0.05 to 0.65 and their inverse the negative of it;
    brightfield -0.25 to 0.2. 0 for an image of one value.
    """
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float64), 1)
    spread = float(smooth.std())
    return float(smooth.mean() - np.median(smooth)) / spread if spread > 1e-9 * abs(float(smooth.mean())) else 0.0


def inverted(image: np.ndarray) -> np.ndarray:
    """The image with dark and bright exchanged, same dtype: integers within the range of the dtype, floats of the image.

    image : (y, x), uint8, uint16 or float32
    """
    if image.dtype.kind == "u":
        return np.iinfo(image.dtype).max - image
    return (image.min(initial=np.inf) + image.max(initial=-np.inf) - image).astype(image.dtype) if image.size else image


def _of(chosen: np.ndarray, imaged: np.ndarray | None) -> np.ndarray:
    return chosen if imaged is None else chosen & imaged
