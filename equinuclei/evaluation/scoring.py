"""Scores of predictions against the truth, a row per image, inference mode and transform; of crops too."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skimage.filters import threshold_otsu

from equinuclei.dataset.parts import iterate_images, read_predictions
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.images.instances import connected_components, nuclei
from equinuclei.images.metrics import THRESHOLDS, score_image
from equinuclei.omezarr.stacks import open_stack, read_row, store_attributes
from equinuclei.runtime.files import replacing
from equinuclei.specs import OTSU
from equinuclei.symmetry import Element, Group

Prediction = tuple[np.ndarray, np.ndarray]
"""The mask, bool (y, x), and the labelled nuclei, integer (y, x)."""

CROP = 512
"""Edge of the crops in pixels, as in the reference study. The share of differences that are exactly zero depends on it:
the less an image shows, the more often two predictions have the same score."""

_CROP_COLUMNS = (
    "dataset", "model", "inference", "modality", "seed", "image_id", "cell_line", "group", "part", "crop", "rotation",
    "mirrored", "pixel_TP", "pixel_FP", "pixel_FN", "object50_TP", "object50_FP", "object50_FN", "agreement",
)  # fmt: skip


@dataclass(frozen=True)
class RunLabels:
    """The columns of scores that tell which predictions they are of: data set, model and seed."""

    dataset: str
    model: str
    seed: int

    def columns(self, inference: str, modality: str) -> dict[str, str | int]:
        """These columns, with inference mode and modality, in their order."""
        return {
            "dataset": self.dataset,
            "model": self.model,
            "inference": inference,
            "modality": modality,
            "seed": self.seed,
        }


def crop_windows(height: int, width: int) -> list[tuple[slice, slice]]:
    """Windows (y, x) of CROP x CROP pixels, as many as fit side by side about the middle of an image; maybe none."""
    starts = [[(size % CROP) // 2 + CROP * n for n in range(size // CROP)] for size in (height, width)]
    return [(slice(y, y + CROP), slice(x, x + CROP)) for y in starts[0] for x in starts[1]]


def otsu_threshold(image: np.ndarray) -> float:
    """Otsu's threshold (Otsu 1979) of an image (y, x); infinite for a constant image."""
    return float(threshold_otsu(image)) if image.min() < image.max() else np.inf


def otsu_mask(image: np.ndarray) -> np.ndarray:
    """Pixels above Otsu's threshold, bool, (y, x). All False for a constant image."""
    mask: np.ndarray = image > otsu_threshold(image)
    return mask


def score_predictions(
    predictions: str | Path,
    index: str | Path,
    part: ScoredPart,
    labels: RunLabels,
    *,
    scores: str | Path,
    crop_scores: str | Path,
    instances: str | None = None,
    border_as: str = "nucleus",
) -> None:
    """Score the predictions of one model, as `prediction.predict_part` wrote them, one image at a time.

    instances : how predictions become nuclei, the `method` of `instances.nuclei`; border_as : what the border of a
    nucleus counts as in the truth.

    Writes `scores` (parquet): dataset, model, inference, modality, seed, image_id, cell_line, group, part and the
    columns of `metrics.score_image`; a row per image, inference mode and transform. And `crop_scores` (parquet), counts
    of the same kind per crop of an image (`crop_windows`) and rotation; an image smaller than a crop has no row. The
    nuclei in a crop are those of the image, cut where it ends.
    """
    places = read_predictions(index).set_index("image_id")
    made = store_attributes(predictions)
    elements = [element for element in Group.P4M.elements if element.name in made["transforms"]]

    def predict(image_id: str, inference: str) -> dict[Element, Prediction]:
        array, row = places.loc[image_id, ["array", "row"]]
        codes = {e: read_row(open_stack(predictions, f"{inference}/{e.name}/{array}"), int(row)) for e in elements}
        return {e: nuclei(found, made["target"], instances, border_as=border_as) for e, found in codes.items()}

    table: list[dict[str, Any]] = []
    of_crops: list[dict[str, Any]] = []
    for row, truth in iterate_images(part.rows(), binary=part.masks, instances=part.nuclei):
        for inference in made["inferences"]:
            predicted = predict(row.image_id, inference)
            columns = labels.columns(inference, part.modality)
            table += _score(row, truth, predicted, columns)
            of_crops += _score_crops(row, truth, predicted, columns)
    _write_scores(table, scores)
    _write_scores(of_crops, crop_scores, _CROP_COLUMNS)


def score_otsu(images: str | Path, part: ScoredPart, *, dataset: str, mirrored: bool, scores: str | Path) -> None:
    """Score Otsu's threshold on the images that the models are scored on. Writes the same columns.

    images : the store of the images; dataset : its name; mirrored : whether to score mirrored images too. A threshold
    does not see orientation: the prediction of a rotated image is the rotated prediction. It has one inference mode,
    "deployed".
    """
    elements = (Group.P4M if mirrored else Group.P4).elements
    columns = RunLabels(dataset, OTSU, seed=0).columns("deployed", part.modality)
    table: list[dict[str, Any]] = []
    for row, stored in iterate_images(part.rows(), image=images, binary=part.masks, instances=part.nuclei):
        mask = otsu_mask(stored["image"])
        table += _score(row, stored, dict.fromkeys(elements, (mask, connected_components(mask))), columns)
    _write_scores(table, scores)


def _score_crops(
    row: Any, truth: Mapping[str, np.ndarray], predictions: Mapping[Element, Prediction], columns: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Rows of `_CROP_COLUMNS`: of every crop of an image, under the rotations."""
    turned = {element: found for element, found in predictions.items() if not element.mirrored}
    for number, window in enumerate(crop_windows(*truth["binary"].shape)):
        inside = {element: (mask[window], objects[window]) for element, (mask, objects) in turned.items()}
        cut = {name: truth[name][window] for name in ("binary", "instances")}
        for score in _score(row, cut, inside, columns, thresholds=(0.5,)):
            score["crop"] = number
            yield {column: score[column] for column in _CROP_COLUMNS}


def _score(
    row: Any,
    truth: Mapping[str, np.ndarray],
    predictions: Mapping[Element, Prediction],
    columns: Mapping[str, Any],
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[dict[str, Any]]:
    """A row of scores per transform of an image (`metrics.score_image`), after `columns` and those of the image."""
    of_image = {"image_id": row.image_id, "cell_line": row.cell_line, "group": row.group, "part": row.part}
    masks, objects = (
        {(element.degrees, element.mirrored): found[place] for element, found in predictions.items()}
        for place in (0, 1)
    )
    rows = score_image(truth["binary"] > 0, truth["instances"], masks, thresholds, objects=objects)
    return [{**columns, **of_image, **scores} for scores in rows]


def _write_scores(table: list[dict[str, Any]], path: str | Path, columns: Sequence[str] | None = None) -> None:
    with replacing(path) as temporary:
        pd.DataFrame(table, columns=columns).to_parquet(temporary, index=False)
