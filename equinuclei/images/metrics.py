"""Scores of a predicted mask against the true one, by pixels and by objects.

Every ratio of counts is a single division of two integers, so equal counts give bit-equal scores on every machine.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from equinuclei.images.instances import connected_components

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(50, 100, 5))
"""Thresholds on the intersection over union of two objects: 0.5, 0.55, ..., 0.95."""


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
        **_ratios(TP, FP, FN),
        "IoU": _score(TP, TP + FP + FN, TP + FP + FN == 0),
        "binary_accuracy": _score(TP + TN, truth.size, truth.size == 0),
        "mean_pixel_accuracy": sum(recalls) / len(recalls) if recalls else float("nan"),
    }


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks of one shape (bool, or 0 and 1); NaN if both are empty.

    Applied to the prediction of an image and that of its rotated copy, rotated back, it is the `agreement`. It is 1
    only if both are identical: unlike in a difference of F1, errors at different places cannot cancel.

    Raises ValueError as `pixel_scores` does.
    """
    a, b = _binary_pair(a, b)
    union = int(np.count_nonzero(a | b))
    return _score(int(np.count_nonzero(a & b)), union, union == 0)


def object_scores(
    truth_labels: np.ndarray, predicted_labels: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> pd.DataFrame:
    """Agreement of two label images, object by object.

    A true and a predicted object can be matched if their intersection over union is at least the threshold. Each object
    has at most one partner, and the number of pairs is maximised (maximum bipartite matching, Hopcroft and Karp 1973).
    TP is the number of pairs, FP the number of predicted objects without a partner, FN that of true objects without
    one. Caicedo et al., Nature Methods 2019; StarDist, Schmidt et al., MICCAI 2018.

    The comparison is done in integers (intersection * q >= p * union for the threshold p / q), so an overlap of exactly
    0.6 reaches the threshold 0.6. A threshold is read as the closest fraction with a denominator up to 10,000.

    Parameters
    ----------
    truth_labels, predicted_labels: integer arrays of one shape; 0 is background, and every other number is an
        object. Numbers may have gaps, and objects need not be connected.
    thresholds: numbers above 0 and up to 1.

    Returns
    -------
    A row per threshold: threshold, TP, FP, FN (int), and
    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN), AP = TP / (TP + FP + FN), the
    "average precision" of Caicedo et al.; and PQ, the panoptic quality: the sum of the pairs' intersections over union,
    divided by TP + FP / 2 + FN / 2 (Kirillov et al., CVPR 2019, equation 1). If neither image has an object, these five
    are NaN; if only one of them has none, they are 0.

    From a threshold of 0.5 on, the counts and PQ are the same for every maximum matching: an object can only have two
    candidates if both overlap it by exactly 0.5. Below 0.5, PQ depends on which pairs are chosen, and is NaN.

    Memory grows with the number of foreground pixels and of overlapping pairs, not with objects times objects.

    Raises ValueError if the shapes differ, a label is negative or not an integer, or a threshold is outside (0, 1].
    """
    matches = zip(thresholds, _match_objects(truth_labels, predicted_labels, thresholds), strict=True)
    rows = [{"threshold": float(threshold), **scores} for threshold, scores in matches]
    return pd.DataFrame(rows, columns=["threshold", "TP", "FP", "FN", "precision", "recall", "F1", "AP", "PQ"])


def score_image(
    truth: np.ndarray,
    truth_labels: np.ndarray,
    predictions: Mapping[tuple[int, bool], np.ndarray],
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    objects: Mapping[tuple[int, bool], np.ndarray] | None = None,
) -> list[dict[str, int | float | bool]]:
    """Score the predictions for one image and for its rotated and mirrored copies.

    Parameters
    ----------
    truth: bool (y, x).
    truth_labels: integer (y, x), the true objects.
    predictions: bool (y, x) per transform (rotation in degrees, mirrored), already transformed back into the frame of
        the image. The untransformed image, (0, False), must be among them.
    thresholds: as in `object_scores`.
    objects: integer (y, x) per transform, the predicted objects; None: the connected components of the predictions.

    Returns
    -------
    A row per transform, in the order of `predictions`: rotation (int), mirrored (bool); pixel_<key> for each key of
    `pixel_scores`; object<100 threshold>_TP, _FP, _FN, _precision, _recall, _F1, _AP, _PQ for each threshold
    (object50_F1, object55_F1, ...); agreement, the `mask_iou` with the prediction (0, False), NaN if both are empty.

    Raises ValueError if (0, False) is missing, and as `pixel_scores` and `object_scores` do.
    """
    if (0, False) not in predictions:
        raise ValueError("the prediction of the image itself, (0, False), is missing")
    reference = predictions[(0, False)]
    rows = []
    for (rotation, mirrored), prediction in predictions.items():
        row: dict[str, int | float | bool] = {"rotation": int(rotation), "mirrored": bool(mirrored)}
        row |= {f"pixel_{key}": value for key, value in pixel_scores(truth, prediction).items()}
        labels = connected_components(prediction) if objects is None else objects[rotation, mirrored]
        for threshold, scores in zip(thresholds, _match_objects(truth_labels, labels, thresholds), strict=True):
            row |= {f"object{100 * threshold:g}_{key}": value for key, value in scores.items()}
        row["agreement"] = mask_iou(prediction, reference)
        rows.append(row)
    return rows


def _match_objects(
    truth: np.ndarray, prediction: np.ndarray, thresholds: Sequence[float]
) -> Iterator[dict[str, int | float]]:
    """TP, FP, FN, precision, recall, F1, AP and PQ of two label images for each threshold."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise ValueError(f"label images of different shapes: {truth.shape} and {prediction.shape}")
    limits = [_fraction(threshold) for threshold in thresholds]
    truth, true_areas = _compact(truth)
    prediction, predicted_areas = _compact(prediction)
    both = (truth != 0) & (prediction != 0)
    pixels = (truth[both] - 1, prediction[both] - 1)
    shape = (len(true_areas), len(predicted_areas))
    # The conversion to CSR sums the entries of each pair.
    overlap = coo_array((np.ones(len(pixels[0]), dtype=np.int64), pixels), shape=shape).tocsr().tocoo()
    row, column, intersection = overlap.row, overlap.col, overlap.data
    union = true_areas[row] + predicted_areas[column] - intersection
    iou = intersection / union
    for limit in limits:
        close = np.flatnonzero(intersection * limit.denominator >= limit.numerator * union)
        pairs = close
        if close.size:
            graph = csr_array((np.ones(close.size, dtype=np.int8), (row[close], column[close])), shape=shape)
            partner = maximum_bipartite_matching(graph, perm_type="column")
            pairs = close[partner[row[close]] == column[close]]
        TP, FP, FN = pairs.size, shape[1] - pairs.size, shape[0] - pairs.size
        # math.fsum rounds only once, so the sum does not depend on the order of the objects.
        quality = 2 * math.fsum(iou[pairs]) if 2 * limit >= 1 else float("nan")
        empty = TP + FP + FN == 0
        yield {
            **{"TP": TP, "FP": FP, "FN": FN, **_ratios(TP, FP, FN)},
            "AP": _score(TP, TP + FP + FN, empty),
            "PQ": _score(quality, 2 * TP + FP + FN, empty),
        }


def _compact(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label image renumbered to 1, 2, ... without gaps (int32), and the area of each object in pixels."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are integers, not {labels.dtype}; label a mask with connected_components first")
    if labels.size == 0:
        return labels.astype(np.int32), np.zeros(0, dtype=np.int64)
    if labels.min() < 0:
        raise ValueError(f"labels must not be negative; the smallest is {labels.min()}")
    if labels.max() > labels.size:
        # Too large for a table that is indexed by label. np.unique is slower, as it sorts all pixels.
        values, inverse = np.unique(labels, return_inverse=True)
        labels = inverse.reshape(labels.shape) + int(values[0] != 0)
    areas = np.bincount(labels.ravel().astype(np.intp, copy=False))
    areas[0] = 0
    present = areas > 0
    if not present[1:].all():
        labels = np.where(present, np.cumsum(present), 0).astype(np.int32)[labels]
    return labels.astype(np.int32, copy=False), areas[present].astype(np.int64, copy=False)


def _fraction(threshold: float) -> Fraction:
    """The fraction that a threshold such as 0.55 stands for: 11/20, not the nearest binary number."""
    if not 0 < threshold <= 1:
        raise ValueError(f"a threshold on the intersection over union must be above 0 and at most 1, not {threshold}")
    limit = Fraction(float(threshold)).limit_denominator(10_000)
    if limit == 0:
        raise ValueError(f"the threshold {threshold} is below 1/10000, the smallest supported")
    return limit


def _ratios(TP: int, FP: int, FN: int) -> dict[str, float]:
    """Precision, recall and F1; NaN if both sides are empty, 0 if one is."""
    empty = TP + FP + FN == 0
    return {
        "precision": _score(TP, TP + FP, empty),
        "recall": _score(TP, TP + FN, empty),
        "F1": _score(2 * TP, 2 * TP + FP + FN, empty),
    }


def _score(numerator: float, denominator: int, undefined: bool) -> float:
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
