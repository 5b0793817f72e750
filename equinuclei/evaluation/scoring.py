"""Scores of predictions against the truth, a row per image, inference mode and transform; of crops too."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skimage.filters import threshold_otsu

from equinuclei.dataset.parts import iterate_images, part_fields, read_predictions, scored_part
from equinuclei.images.instances import connected_components, nuclei
from equinuclei.images.metrics import THRESHOLDS, score_image
from equinuclei.omezarr.stacks import open_stack, read_row, store_attributes
from equinuclei.runtime.files import replacing
from equinuclei.specs import OTSU
from equinuclei.symmetry import Element, Group

Prediction = tuple[np.ndarray, np.ndarray]
"""The mask, bool (y, x), and the labelled nuclei, integer (y, x)."""


CROP = 512
"""Edge of the crops in pixels. The share of differences that are exactly zero depends on what is scored: the less is in
an image, the more often two predictions score alike. The reference study scored crops of this size."""

_CROP_COLUMNS = (
    "dataset", "model", "inference", "modality", "seed", "image_id", "cell_line", "group", "part", "crop", "rotation",
    "mirrored", "pixel_TP", "pixel_FP", "pixel_FN", "object50_TP", "object50_FP", "object50_FN", "agreement",
)  # fmt: skip


def crop_windows(height: int, width: int) -> list[tuple[slice, slice]]:
    """Windows (y, x) of CROP x CROP pixels, as many as fit side by side about the middle of an image; maybe none."""
    starts = [[(size % CROP) // 2 + CROP * n for n in range(size // CROP)] for size in (height, width)]
    return [(slice(y, y + CROP), slice(x, x + CROP)) for y in starts[0] for x in starts[1]]


def otsu_mask(image: np.ndarray) -> np.ndarray:
    """Pixels above Otsu's threshold (Otsu 1979), bool, (y, x). All False for a constant image."""
    if image.min() == image.max():
        return np.zeros(image.shape, dtype=bool)
    return image > threshold_otsu(image)


def score_predictions(
    predictions: str | Path,
    *,
    index: str | Path,
    targets: str | Path,
    fields: str | Path,
    splits: str | Path,
    labels: Mapping[str, str | int],
    scores: str | Path,
    crop_scores: str | Path,
    instances: str | None = None,
    border_as: str = "nucleus",
) -> None:
    """Score the predictions of one model, as `prediction.predict_part` wrote them, one image at a time.

    labels : dataset, model, modality and seed of the model; instances : how predictions become nuclei, the `method` of
    `instances.nuclei`; border_as : what the border of a nucleus counts as in the truth. Writes `scores` (parquet):
    dataset, model, inference, modality, seed, image_id, cell_line, group, part and the columns of
    `metrics.score_image`; a row per image, inference mode and transform. And `crop_scores` (parquet), counts of the
    same kind per crop of an image (`crop_windows`) and rotation; no row of images that are smaller. The nuclei in a
    crop are those of the image, cut where it ends.
    """
    rows = part_fields(fields, splits, modality=labels["modality"], part=scored_part(splits))
    places = read_predictions(index).set_index("image_id")
    made = store_attributes(predictions)
    elements = [element for element in Group.P4M.elements if element.name in made["transforms"]]

    def predict(image_id: str, inference: str) -> dict[Element, Prediction]:
        array, row = places.loc[image_id, ["array", "row"]]
        codes = {e: read_row(open_stack(predictions, f"{inference}/{e.name}/{array}"), int(row)) for e in elements}
        return {e: nuclei(found, made["target"], instances, border_as=border_as) for e, found in codes.items()}

    table, of_crops = [], []
    stores = {"binary": Path(targets) / "binary", "instances": Path(targets) / "instances"}
    for row, truth in iterate_images(rows, **stores):
        for inference in made["inferences"]:
            predicted = predict(row.image_id, inference)
            table += _score(row, truth, predicted, {**labels, "inference": inference})
            of_crops += _score_crops(row, truth, predicted, {**labels, "inference": inference})
    _write_scores(table, scores)
    _write_scores(of_crops, crop_scores, _CROP_COLUMNS)


def score_otsu(
    images: str | Path,
    *,
    targets: str | Path,
    fields: str | Path,
    splits: str | Path,
    dataset: str,
    modality: str,
    mirrored: bool,
    scores: str | Path,
) -> None:
    """Score Otsu's threshold on the images that the models are scored on. Writes the same columns.

    A threshold does not see orientation: the prediction of a rotated image is the rotated prediction. It has one
    inference mode, "deployed".
    """
    rows = part_fields(fields, splits, modality=modality, part=scored_part(splits))
    elements = (Group.P4M if mirrored else Group.P4).elements
    labels = {"dataset": dataset, "model": OTSU, "inference": "deployed", "modality": modality, "seed": 0}
    stores = {"image": images, "binary": Path(targets) / "binary", "instances": Path(targets) / "instances"}
    table = [
        score
        for row, stored in iterate_images(rows, **stores)
        for mask in [otsu_mask(stored["image"])]
        for score in _score(row, stored, dict.fromkeys(elements, (mask, connected_components(mask))), labels)
    ]
    _write_scores(table, scores)


def _score_crops(
    row: Any, truth: Mapping, predictions: Mapping[Element, Prediction], labels: Mapping
) -> Iterator[dict]:
    """Rows of `_CROP_COLUMNS`: of every crop of an image, under the rotations."""
    turned = {element: found for element, found in predictions.items() if not element.mirrored}
    for number, window in enumerate(crop_windows(*truth["binary"].shape)):
        inside = {element: (mask[window], objects[window]) for element, (mask, objects) in turned.items()}
        cut = {name: truth[name][window] for name in ("binary", "instances")}
        for score in _score(row, cut, inside, labels, thresholds=(0.5,)):
            score["crop"] = number
            yield {column: score[column] for column in _CROP_COLUMNS}


def _score(
    row: Any,
    truth: Mapping,
    predictions: Mapping[Element, Prediction],
    labels: Mapping,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[dict]:
    labels = {name: labels[name] for name in ("dataset", "model", "inference", "modality", "seed")}
    of_image = {"image_id": row.image_id, "cell_line": row.cell_line, "group": row.group, "part": row.part}
    masks, objects = (
        {(element.degrees, element.mirrored): found[part] for element, found in predictions.items()} for part in (0, 1)
    )
    rows = score_image(truth["binary"] > 0, truth["instances"], masks, thresholds, objects=objects)
    return [{**labels, **of_image, **row} for row in rows]


def _write_scores(table: list[dict], path: str | Path, columns: Sequence[str] | None = None) -> None:
    with replacing(path) as temporary:
        pd.DataFrame(table, columns=columns).to_parquet(temporary, index=False)
