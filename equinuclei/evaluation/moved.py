"""Scores of images turned between the quarter turns, and of shifted crops, beside those before (`moves`)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from equinuclei.dataset.parts import iterate_images, read_predictions
from equinuclei.evaluation.moves import (
    QUARTER,
    TURNS,
    Move,
    common_window,
    inscribed_disc,
    shifts_of,
    turn_image,
    turn_labels,
)
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.evaluation.scoring import Prediction, RunLabels, otsu_threshold
from equinuclei.images.instances import connected_components, nuclei
from equinuclei.images.metrics import object_scores
from equinuclei.images.pixel_metrics import pixel_scores
from equinuclei.omezarr.stacks import open_stack, read_row, store_attributes
from equinuclei.runtime.files import replacing
from equinuclei.specs import OTSU
from equinuclei.symmetry import IDENTITY, Element

MODE = "deployed"
"""The inference mode that is moved: the others answer for quarter turns alone."""

_COUNTS = [f"{level}_{count}" for level in ("pixel", "object50") for count in ("TP", "FP", "FN")]
COLUMNS = (
    "dataset", "model", "inference", "modality", "seed", "image_id", "cell_line", "group", "part", "move", "amount",
    *_COUNTS, *(f"{count}_reference" for count in _COUNTS),
)  # fmt: skip

Cut = Callable[[np.ndarray], np.ndarray]
"""A function that keeps a region of an image (y, x)."""


@dataclass(frozen=True)
class _Found:
    """What was predicted of an image.

    codes : predictions (y, x) by the name of a transform or move; nuclei : mask and nuclei of codes.
    """

    codes: Callable[[str], np.ndarray]
    nuclei: Callable[[np.ndarray], Prediction]


def score_moves(
    predictions: str | Path,
    index: str | Path,
    part: ScoredPart,
    labels: RunLabels,
    *,
    scores: str | Path,
    instances: str | None = None,
    border_as: str = "nucleus",
) -> None:
    """Score the turned and shifted predictions of one model, as `prediction.predict_part` wrote them.

    instances, border_as : as of `scoring.score_predictions`. Writes `scores` (parquet), a row per image and move, with
    `COLUMNS`: those of the image; move, "turn" or "shift"; amount, degrees or pixels; the counts of the moved image;
    and, as `_reference`, those of the image as it is in the same region.
    """
    places = read_predictions(index).set_index("image_id")
    target = store_attributes(predictions)["target"]

    def find(codes: np.ndarray) -> Prediction:
        return nuclei(codes, target, instances, border_as=border_as)

    def codes_of(image_id: str) -> Callable[[str], np.ndarray]:
        array, row = places.loc[image_id, ["array", "row"]]
        return lambda name: read_row(open_stack(predictions, f"{MODE}/{name}/{array}"), int(row))

    table: list[dict[str, Any]] = []
    for row, truth in iterate_images(part.rows(), binary=part.masks, instances=part.nuclei):
        found = _Found(codes_of(row.image_id), find)
        table += _score(row, truth, found, labels.columns(MODE, part.modality))
    _write(table, scores)


def score_otsu_moves(images: str | Path, part: ScoredPart, *, dataset: str, scores: str | Path) -> None:
    """Score Otsu's threshold on the same moved images. Writes the same columns.

    The threshold is that of the image as it is, so what differs after a turn was interpolated, and nothing differs
    after a shift.
    """
    table: list[dict[str, Any]] = []
    for row, stored in iterate_images(part.rows(), image=images, binary=part.masks, instances=part.nuclei):
        found = _Found(_otsu_codes(stored["image"]), lambda codes: (codes > 0, connected_components(codes > 0)))
        table += _score(row, stored, found, RunLabels(dataset, OTSU, seed=0).columns(MODE, part.modality))
    _write(table, scores)


def _otsu_codes(image: np.ndarray) -> Callable[[str], np.ndarray]:
    threshold = otsu_threshold(image)
    turned = {Move("turn", degrees).name: degrees for degrees in TURNS}

    def codes(name: str) -> np.ndarray:
        return (turn_image(image, turned[name]) if name in turned else image) > threshold

    return codes


def _score(
    row: Any, truth: Mapping[str, np.ndarray], found: _Found, columns: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Rows of `COLUMNS` of an image: of its turns, then of its shifts."""
    of_image = {"image_id": row.image_id, "cell_line": row.cell_line, "group": row.group, "part": row.part}
    mask, labels = truth["binary"] > 0, truth["instances"]

    def result(kind: str, amount: int, moved: Mapping[str, int], reference: Mapping[str, int]) -> dict[str, Any]:
        before = {f"{name}_reference": count for name, count in reference.items()}
        return {**columns, **of_image, "move": kind, "amount": amount, **moved, **before}

    in_disc = _within_disc(*mask.shape)
    as_it_is = _counts(in_disc, mask, labels, found, IDENTITY.name)
    for degrees in TURNS:
        turned = turn_labels(mask, degrees), turn_labels(labels, degrees)
        yield result("turn", degrees, _counts(in_disc, *turned, found, Move("turn", degrees).name), as_it_is)
    # Its prediction was turned back exactly, and the disc is its own quarter turn.
    quarter = _counts(in_disc, mask, labels, found, Element(QUARTER // 90).name)
    yield result("turn", QUARTER, quarter, as_it_is)
    for shift in shifts_of(*mask.shape):
        both = _window_of(mask, shift)
        moved, before = (_counts(both, mask, labels, found, Move("shift", of).name) for of in (shift, 0))
        yield result("shift", shift, moved, before)


def _window_of(mask: np.ndarray, shift: int) -> Cut:
    """A function that cuts to what two crops both show, of images as large as `mask`."""
    height, width = mask.shape
    window = common_window(height, width, shift)
    return lambda image: image[window]


def _within_disc(height: int, width: int) -> Cut:
    """A function that sets what lies outside the inscribed disc to 0, and cuts to its bounding box."""
    disc = inscribed_disc(height, width)
    rows, columns = (np.flatnonzero(disc.any(axis=axis)) for axis in (1, 0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return lambda image: np.where(disc[window], image[window], 0).astype(image.dtype)


def _counts(cut: Cut, mask: np.ndarray, labels: np.ndarray, found: _Found, name: str) -> dict[str, int]:
    """The counts of a prediction within a region, by the names of `COLUMNS`."""
    predicted, objects = found.nuclei(cut(found.codes(name)))
    scores = {
        "pixel": pixel_scores(cut(mask), predicted),
        "object50": object_scores(cut(labels), objects, (0.5,)).iloc[0].to_dict(),
    }
    return {
        f"{level}_{count}": int(of_level[count]) for level, of_level in scores.items() for count in ("TP", "FP", "FN")
    }


def _write(table: list[dict[str, Any]], path: str | Path) -> None:
    with replacing(path) as temporary:
        pd.DataFrame(table, columns=list(COLUMNS)).to_parquet(temporary, index=False)
