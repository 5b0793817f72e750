"""Scores of a predicted mask against the true one, pixel by pixel. They need numpy alone, as training does.

Every ratio of counts is one division of two integers. Equal counts therefore give bit-equal scores, on every machine.
"""

import numpy as np


def pixel_scores(truth: np.ndarray, prediction: np.ndarray) -> dict[str, int | float]:
    """Agreement of two masks, pixel by pixel; nucleus is the positive class.

    Parameters
    ----------
    truth, prediction: arrays of one shape, any number of axes; bool, or numbers that are all 0 or 1.

    Returns
    -------
    TP, FP, FN, TN: int, the numbers of pixels.
    precision = TP / (TP + FP), recall = TP / (TP + FN),
    F1 = 2 TP / (2 TP + FP + FN): van Rijsbergen, Information Retrieval, 1979; Dice 1945.
    IoU = TP / (TP + FP + FN): Jaccard 1912.
    binary_accuracy = (TP + TN) / (TP + FP + FN + TN).
    mean_pixel_accuracy: the recall of a class, averaged over nucleus and background ("mean accuracy" in Long, Shelhamer
    and Darrell, CVPR 2015). A class with no true pixel has no recall and is left out of the average.

    When neither mask has a nucleus, precision, recall, F1 and IoU are NaN: undefined, so that a mean over images
    leaves the image out. When one of the masks has none, all four are 0. On arrays without pixels every ratio is NaN.

    Raises ValueError if the shapes differ, or a value is neither 0 nor 1.
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


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks of one shape (bool, or 0 and 1); NaN when both are empty.

    Between the prediction of an image and the un-rotated prediction of the rotated image it is the `agreement`: 1 only
    if the two masks are identical, because, unlike in a difference of F1, errors at different places cannot cancel.

    Raises ValueError as `pixel_scores` does.
    """
    a, b = _binary_pair(a, b)
    union = int(np.count_nonzero(a | b))
    return ratio(int(np.count_nonzero(a & b)), union, union == 0)


def ratios(TP: int, FP: int, FN: int) -> dict[str, float]:
    """Precision, recall and F1; NaN when both sides are empty, and 0 when one is."""
    empty = TP + FP + FN == 0
    return {
        "precision": ratio(TP, TP + FP, empty),
        "recall": ratio(TP, TP + FN, empty),
        "F1": ratio(2 * TP, 2 * TP + FP + FN, empty),
    }


def ratio(numerator: float, denominator: int, undefined: bool) -> float:
    """NaN where it is undefined, and 0 where there is nothing to divide by."""
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
        raise ValueError(f"a mask holds True and False, or 0 and 1; this {array.dtype} array holds other values")
    return array.astype(bool)
