"""Quality of an image: what its pixels tell, by themselves and with the nuclei that were found in them."""

import numpy as np
from scipy import ndimage

_NEXT_VALUES = 8
_FEW = 0.001
_FEWEST_PIXELS = 8


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

    They were if the largest value is that of the unsigned dtype or of a 12- or 14-bit camera; or if more pixels have it
    than the next lower eight values together, as a detector, or a conversion, may end at any value.
    """
    if not image.size:
        return 0.0
    largest = image.max()
    share = float((image == largest).mean())
    limits = {np.iinfo(image.dtype).max, 2**12 - 1, 2**14 - 1} if image.dtype.kind == "u" else set()
    if largest in ({255} if image.dtype == np.uint8 else limits):
        return share
    if share < _FEW:  # to sort all pixels takes long
        return 0.0
    values, counts = np.unique(image, return_counts=True)
    piled_up = len(values) > _NEXT_VALUES and counts[-1] > counts[-1 - _NEXT_VALUES : -1].sum()
    return share if piled_up else 0.0


def skewness_score(image: np.ndarray) -> float:
    """Which way the grey values of an image (y, x) are skewed, -1 to 1: positive if most are dark and few are bright.

    ((p99 - median) - (median - p1)) / (p99 - p1), a quantile skewness (Hinkley 1975), after a Gaussian of one pixel
    against noise. 0 for an image of one value.
    """
    low, middle, high = np.percentile(ndimage.gaussian_filter(np.asarray(image, np.float32), 1), [1, 50, 99]).tolist()
    return float((high + low - 2 * middle) / (high - low)) if high > low else 0.0


def sharpness_score(image: np.ndarray, nuclei: np.ndarray, diameter: float) -> float:
    """How much steeper the edges of nuclei are when they are seen more finely: 1 if they are wholly blurred.

    The gradients of the image after a Gaussian of 1/16 and after one of 1/6 of the diameter, compared where nuclei
    end: the sum of the products of both by that of the squares of the second. Noise, which differs between the two,
    hardly adds to the products. Edges blurred by a Gaussian of s diameters give
    sqrt((s^2 + 1/36) / (s^2 + 1/256)). NaN where there are no nuclei, and where pixels blur them: below 8 pixels.

    image : (y, x), stored dtype; nuclei : bool (y, x); diameter : of the typical nucleus, in pixels
    """
    if not nuclei.any() or not diameter >= _FEWEST_PIXELS:
        return float("nan")
    reach = round(diameter / 6)
    edges = ndimage.binary_dilation(nuclei, iterations=reach) & ~ndimage.binary_erosion(nuclei, iterations=reach)
    pixels = np.asarray(image, np.float32)
    products = squares = 0.0
    for order in ((1, 0), (0, 1)):
        fine, coarse = (
            ndimage.gaussian_filter(pixels, diameter / part, order=order)[edges].astype(np.float64) for part in (16, 6)
        )
        products += float((fine * coarse).sum())
        squares += float((coarse**2).sum())
    return products / squares if squares > 0 else float("nan")


def inverted(image: np.ndarray) -> np.ndarray:
    """The image with dark and bright exchanged, same dtype: within the range of an integer dtype, or of the image.

    image : (y, x), uint8, uint16 or float32
    """
    if image.dtype.kind == "u":
        return np.iinfo(image.dtype).max - image
    return (image.min(initial=np.inf) + image.max(initial=-np.inf) - image).astype(image.dtype) if image.size else image


def _of(chosen: np.ndarray, imaged: np.ndarray | None) -> np.ndarray:
    return chosen if imaged is None else chosen & imaged
