"""The accuracy of a model as plates and folders of images use it, beside a method that learns nothing.

A study scores every model with the method that the study chose. Here a single model is scored as it is deployed, with
touching nuclei split, and so is Otsu's threshold with a watershed of the mask's shape, on the same images.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from equinuclei.analysis.resampling import estimates
from equinuclei.dataset.parts import iterate_images
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.evaluation.scoring import otsu_mask
from equinuclei.images.instances import split_touching
from equinuclei.images.metrics import object_scores
from equinuclei.images.pixel_metrics import pixel_scores
from equinuclei.inference.nuclei import segment_image
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.runtime.files import replacing
from equinuclei.symmetry import Group
from equinuclei.tables.files import write_table

logger = logging.getLogger("equinuclei.evaluation.accuracy")

MODEL, FLOOR = "model", "Otsu and watershed"
FLOOR_MIN_AREA = 20
"""Smallest object of the floor, in pixels: a threshold finds specks everywhere, and nobody would use it without."""

THRESHOLDS = (0.5, 0.7, 0.9)
MEASURES = {
    "AP50": "AP at IoU 0.5, mean over images",
    "AP70": "AP at IoU 0.7, mean over images",
    "AP90": "AP at IoU 0.9, mean over images",
    "F1_50_pooled": "object F1 at IoU 0.5, pooled",
    "pixel_F1": "pixel F1, mean over images",
}
SIZES = (0, 100, 400, 1600, np.inf)
"""Limits of the bands of nucleus sizes, in pixels; an image belongs to the band of its median nucleus."""


def evaluate_model(
    weights: str | Path,
    images: str | Path,
    part: ScoredPart,
    *,
    table: str | Path,
    summary: str | Path,
    threads: int = 1,
) -> None:
    """Score a trained model on the scored part of a converted data set.

    Writes `table` (TSV), a row per image and method: the model, and the floor, which is Otsu's threshold and a
    watershed of the distance to the background, without specks. Columns: image_id, cell_line, group, method;
    median_area (pixels, of the true nuclei); pixel_TP, pixel_FP, pixel_FN, pixel_F1; TP50, FP50, FN50, AP50 for an IoU
    of 0.5, and so for 0.7 and 0.9; of the model, whether the label images of the rotated image are the rotated ones
    (identical), and the same with the network in bfloat16 (identical_bfloat16).

    Writes `summary` (Markdown): estimates with their 95 % intervals over groups of images, and the paired difference
    from the floor (`equinuclei.analysis.contrasts`).

    Raises InputError if weights or data cannot be read.
    """
    device = prepare_torch("cpu", threads, deterministic=True)
    network = fold(load_model(weights, device))
    scores: list[dict[str, Any]] = []
    for row, stored in iterate_images(part.rows(), image=images, binary=part.masks, instances=part.nuclei):
        scores += _score_methods(network, row, stored)
        logger.info("%s  AP %.3f", row.image_id, scores[-2]["AP50"])
    scored = pd.DataFrame(scores)
    write_table(scored, table, missing="")
    with replacing(summary) as temporary:
        temporary.write_text(summarize(scored), encoding="utf-8")


def _score_methods(network: SegmentationNetwork, row: Any, stored: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The rows of `evaluate_model` of one image: the model, then the floor."""
    image, truth = stored["image"], stored["instances"].astype(np.int64)
    areas = np.bincount(truth.ravel())[1:]
    of_image = {"image_id": row.image_id, "cell_line": row.cell_line, "group": row.group}
    of_image["median_area"] = float(np.median(areas[areas > 0])) if areas.any() else np.nan
    labels, identical = labels_of_rotations(network, image)
    with torch.autocast("cpu", torch.bfloat16):
        _, in_bfloat16 = labels_of_rotations(network, image)
    invariance = {"identical": identical, "identical_bfloat16": in_bfloat16}
    floor = split_touching(otsu_mask(image), min_area=FLOOR_MIN_AREA)
    return [
        of_image | {"method": method} | score_labels(stored["binary"] > 0, truth, objects) | more
        for method, objects, more in ((MODEL, labels, invariance), (FLOOR, floor, {}))
    ]


def summarize(scores: pd.DataFrame) -> str:
    """The table of `evaluate_model` in words and figures, Markdown."""
    ours = scores[scores["method"] == MODEL]
    lines = compare_methods(scores, MODEL, FLOOR)
    lines += ["", "| median nucleus of the image | images | AP at 0.5 | AP at 0.7 |", "|---|---|---|---|"]
    for low, high in pairwise(SIZES):
        band = ours[(ours["median_area"] >= low) & (ours["median_area"] < high)]
        if len(band):
            limits = f"{low:g} to {high:g} pixels" if np.isfinite(high) else f"{low:g} pixels and more"
            lines.append(f"| {limits} | {len(band)} | {band['AP50'].mean():.3f} | {band['AP70'].mean():.3f} |")
    same, rounded = (100 * ours[column].astype(float).mean() for column in ("identical", "identical_bfloat16"))
    lines += [
        "",
        f"Label images identical under quarter turns, to the last pixel: {same:.1f} % of images in float32, "
        f"{rounded:.1f} % in bfloat16.",
        "",
    ]
    return "\n".join(lines)


def compare_methods(scores: pd.DataFrame, method: str, other: str) -> list[str]:
    """Two methods on the same images: estimates, and their paired difference, with 95 % intervals; lines of Markdown.

    scores : rows per image and method as of `evaluate_model`; images of either method in one order.
    """
    pair = [scores[scores["method"] == name] for name in (method, other)]
    groups, cell_lines = pair[0]["group"], pair[0]["cell_line"]
    lines = [
        f"{len(groups)} images in {groups.nunique()} groups; 95 % intervals over groups.",
        "",
        f"| | {method} | {other} | difference |",
        "|---|---|---|---|",
    ]
    for measure, meaning in MEASURES.items():
        of_measure = estimates(*_parts(pair, measure), groups, cell_lines)
        values = [_format(of_measure.interval(np.array([net])), signed=False) for net in (0, 1)]
        difference = _format(of_measure.interval(np.array([0]), np.array([1])), signed=True)
        lines.append(f"| {meaning} | {values[0]} | {values[1]} | {difference} |")
    return lines


def labels_of_rotations(network: SegmentationNetwork, image: np.ndarray) -> tuple[np.ndarray, bool]:
    """Labels of an image, and whether those of its three rotations are the same, turned."""
    # Nuclei of the turned image are found in its own frame, as they would be of a plate that lay turned.
    found = [segment_image(network, np.ascontiguousarray(e(image))).labels for e in Group.P4.elements]
    return found[0], turn_with_the_image(found)


def turn_with_the_image(labels: Sequence[np.ndarray]) -> bool:
    """Whether the labels of an image, turned by each element of p4 in order, are the turned ones of the first."""
    turned_back = [e.inverse(of_turned) for e, of_turned in zip(Group.P4.elements, labels, strict=True)]
    return all(same_partition(turned_back[0], other) for other in turned_back[1:])


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two label images have the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    one_to_one = all(len(np.unique(side)) == pairs.shape[1] for side in pairs)
    return one_to_one and all((x == 0) == (y == 0) for x, y in pairs.T)


def score_labels(truth: np.ndarray, true_labels: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What a label image (y, x) gets right: the columns of `evaluate_model` from pixel_TP to AP90.

    truth : bool, the true mask; true_labels : its nuclei.
    """
    pixels = pixel_scores(truth, labels > 0)
    row = {f"pixel_{key}": pixels[key] for key in ("TP", "FP", "FN", "F1")}
    for scores in object_scores(true_labels, labels, THRESHOLDS).to_dict("records"):
        row |= {f"{key}{100 * scores['threshold']:g}": scores[key] for key in ("TP", "FP", "FN", "AP")}
    return row


def _parts(methods: Sequence[pd.DataFrame], measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of a measure for `contrasts.resample`: (methods, 1, images) each."""
    if measure == "F1_50_pooled":
        parts = [(2 * rows["TP50"], 2 * rows["TP50"] + rows["FP50"] + rows["FN50"]) for rows in methods]
    else:
        parts = [(rows[measure].fillna(0), rows[measure].notna()) for rows in methods]
    numerator, denominator = (np.stack([part[k].to_numpy(float) for part in parts]) for k in (0, 1))
    return numerator[:, np.newaxis], denominator[:, np.newaxis]


def _format(interval: tuple[np.ndarray, ...], *, signed: bool) -> str:
    value, low, high = (float(part[0]) for part in interval[:3])
    sign = "+" if signed else ""
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"
