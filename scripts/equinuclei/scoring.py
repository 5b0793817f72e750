"""Scores of predictions against the truth, a row per image, inference mode and transform."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skimage.filters import threshold_otsu

from equinuclei.files import replacing
from equinuclei.instances import connected_components, nuclei
from equinuclei.metrics import score_image
from equinuclei.models import OTSU
from equinuclei.parts import iterate_images, part_fields, read_predictions, scored_part
from equinuclei.store import open_stack, read_row, store_attributes
from equinuclei.symmetry import Element, Group

Prediction = tuple[np.ndarray, np.ndarray]
"""The mask, bool (y, x), and the labelled nuclei, integer (y, x)."""


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
    instances: str | None = None,
    border_as: str = "nucleus",
) -> None:
    """Score the predictions of one model, as `prediction.predict_part` wrote them, one image at a time.

    labels : dataset, model, modality and seed of the model; instances : how predictions become nuclei, the `method` of
    `instances.nuclei`; border_as : what the border of a nucleus counts as in the truth. Writes `scores` (parquet):
    dataset, model, inference, modality, seed, image_id, cell_line, group, part and the columns of
    `metrics.score_image`; a row per image, inference mode and transform.
    """
    rows = part_fields(fields, splits, modality=labels["modality"], part=scored_part(splits))
    places = read_predictions(index).set_index("image_id")
    made = store_attributes(predictions)
    elements = [element for element in Group.P4M.elements if element.name in made["transforms"]]

    def predict(image_id: str, inference: str) -> dict[Element, Prediction]:
        array, row = places.loc[image_id, ["array", "row"]]
        codes = {e: read_row(open_stack(predictions, f"{inference}/{e.name}/{array}"), int(row)) for e in elements}
        return {e: nuclei(found, made["target"], instances, border_as=border_as) for e, found in codes.items()}

    table = [
        score
        for row, truth in iterate_images(rows, binary=Path(targets) / "binary", instances=Path(targets) / "instances")
        for inference in made["inferences"]
        for score in _score(row, truth, predict(row.image_id, inference), {**labels, "inference": inference})
    ]
    _write_scores(table, scores)


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


def _score(row: Any, truth: Mapping, predictions: Mapping[Element, Prediction], labels: Mapping) -> list[dict]:
    labels = {name: labels[name] for name in ("dataset", "model", "inference", "modality", "seed")}
    of_image = {"image_id": row.image_id, "cell_line": row.cell_line, "group": row.group, "part": row.part}
    masks, objects = (
        {(element.degrees, element.mirrored): found[part] for element, found in predictions.items()} for part in (0, 1)
    )
    rows = score_image(truth["binary"] > 0, truth["instances"], masks, objects=objects)
    return [{**labels, **of_image, **row} for row in rows]


def _write_scores(table: list[dict], path: str | Path) -> None:
    with replacing(path) as temporary:
        pd.DataFrame(table).to_parquet(temporary, index=False)
