"""Scores of predicted objects against the true ones, and all scores of an image and its rotated copies.

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
from equinuclei.images.pixel_metrics import mask_iou, pixel_scores, ratio, ratios

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(50, 100, 5))
"""Thresholds on the intersection over union of two objects: 0.5, 0.55, ..., 0.95."""


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
            **{"TP": TP, "FP": FP, "FN": FN, **ratios(TP, FP, FN)},
            "AP": ratio(TP, TP + FP + FN, empty),
            "PQ": ratio(quality, 2 * TP + FP + FN, empty),
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
