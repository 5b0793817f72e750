"""Scores of a predicted mask against the true one, by pixels. Training uses them, so they depend on numpy alone.

Every ratio of counts is a single division of two integers, so equal counts give bit-equal scores on every machine.
"""

import numpy as np

FEW = 0.01
"""Share of what there is below which a prediction finds nothing, or leaves nothing."""


def pixel_scores(truth: np.ndarray, prediction: np.ndarray) -> dict[str, int | float]:
    """Agreement of two masks, pixel by pixel; nucleus is the positive class.

    Parameters
    ----------
    truth, prediction: arrays of one shape, any number of axes; bool, or numbers that are all 0 or 1.

    Returns
    -------
    TP, FP, FN, TN: int, numbers of pixels.
    precision = TP / (TP + FP), recall = TP / (TP + FN),
    F1 = 2 TP / (2 TP + FP + FN): van Rijsbergen, Information Retrieval, 1979; Dice 1945.
    IoU = TP / (TP + FP + FN): Jaccard 1912.
    binary_accuracy = (TP + TN) / (TP + FP + FN + TN).
    mean_pixel_accuracy: recall averaged over the classes nucleus and background ("mean accuracy" in Long, Shelhamer and
    Darrell, CVPR 2015). A class without true pixels has no recall and is left out of the average.

    If neither mask has a nucleus, precision, recall, F1 and IoU are NaN, so that a mean over images ignores the image.
    If only one of them has none, all four are 0. For arrays without pixels, every ratio is NaN.

    Raises ValueError if the shapes differ or a value is neither 0 nor 1.
    """
    truth, prediction = _binary_pair(truth, prediction)
    TP = int(np.count_nonzero(truth & prediction))
    FP = int(np.count_nonzero(prediction)) - TP
    FN = int(np.count_nonzero(truth)) - TP
    TN = truth.size - TP - FP - FN
    recalls = [hits / total for hits, total in ((TP, TP + FN), (TN, TN + FP)) if total]
    return {
        "TP": TP,
        "FP": FP,
        "FN": FN,
        "TN": TN,
        **ratios(TP, FP, FN),
        "IoU": ratio(TP, TP + FP + FN, TP + FP + FN == 0),
        "binary_accuracy": ratio(TP + TN, truth.size, truth.size == 0),
        "mean_pixel_accuracy": sum(recalls) / len(recalls) if recalls else float("nan"),
    }


def constant_prediction(TP: int, FP: int, FN: int, TN: int) -> str:
    """What a prediction finds, in words, if it is as good as constant though the truth is not; else "".

    Parameters: numbers of pixels. It "finds nothing", or "almost nothing", less than `FEW` of the area of the true
    nuclei; or it "takes everything for nucleus", or "almost everything": less than `FEW` of the true background is
    left.
    """
    nuclei, background, found, left = TP + FN, FP + TN, TP + FP, TN + FN
    if nuclei and found < FEW * nuclei:
        return "finds nothing" if found == 0 else "finds almost nothing"
    if nuclei and left < FEW * background:
        return "takes everything for nucleus" if left == 0 else "takes almost everything for nucleus"
    return ""


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks of one shape (bool, or 0 and 1); NaN if both are empty.

    Applied to the prediction of an image and that of its rotated copy, rotated back, it is the `agreement`. It is 1
    only if both are identical: unlike in a difference of F1, errors at different places cannot cancel.

    Raises ValueError as `pixel_scores` does.
    """
    a, b = _binary_pair(a, b)
    union = int(np.count_nonzero(a | b))
    return ratio(int(np.count_nonzero(a & b)), union, union == 0)


def ratios(TP: int, FP: int, FN: int) -> dict[str, float]:
    """Precision, recall and F1; NaN if both sides are empty, 0 if one is."""
    empty = TP + FP + FN == 0
    return {
        "precision": ratio(TP, TP + FP, empty),
        "recall": ratio(TP, TP + FN, empty),
        "F1": ratio(2 * TP, 2 * TP + FP + FN, empty),
    }


def ratio(numerator: float, denominator: int, undefined: bool) -> float:
    """A quotient, NaN if it is `undefined`, otherwise 0 for a denominator of 0."""
    if undefined:
        return float("nan")
    return numerator / denominator if denominator else 0.0


def _binary_pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = _binary(a), _binary(b)
    if a.shape != b.shape:
        raise ValueError(f"masks of different shapes: {a.shape} and {b.shape}")
    return a, b


def _binary(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype == bool:
        return array
    if not (np.issubdtype(array.dtype, np.number) and ((array == 0) | (array == 1)).all()):
        raise ValueError(f"a mask holds only True and False, or 0 and 1; this {array.dtype} array holds other values")
    return array.astype(bool)
