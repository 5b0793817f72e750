"""Parts of a converted data set: its tables, and its images and targets in memory or one after another."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from equinuclei.errors import InputError
from equinuclei.images.rescaling import typical_diameter
from equinuclei.omezarr.stacks import open_stack, read_row, read_rows
from equinuclei.tables.files import read_table

PARTS = ("train", "val", "test")
FIELDS_COLUMNS = [
    "image_id",
    "cell_line",
    "modality",
    "group",
    "split",
    "array",
    "row",
    "height",
    "width",
    "dtype",
    "image_file",
    "image_sha256",
    "mask_file",
    "mask_sha256",
]
SPLITS_COLUMNS = ["image_id", "cell_line", "group", "part"]
PREDICTIONS_COLUMNS = ["image_id", "array", "row"]


@dataclass(frozen=True)
class Part:
    """Images of one modality and one part of a data set, with what is to be learnt of them, in memory.

    fields : rows of fields.tsv with the column `part`, sorted by image_id
    images : an image per row, (y, x), stored dtype
    targets : a truth of one target per row, (y, x): bool for "binary", uint8 for others
    (`equinuclei.networks.targets`); above 0
        in nuclei
    crops : crops of an epoch of training. None is one of every image; with part of the images left out, one of every
        image of the whole part, so that a training takes as many steps as it would on the whole
    diameters : of the typical nucleus per image, in pixels (`rescaling.typical_diameter`), NaN where there is none;
        None if they were not asked for
    """

    fields: pd.DataFrame
    images: list[np.ndarray]
    targets: list[np.ndarray]
    crops: int | None = None
    diameters: np.ndarray | None = None

    def subset(self, chosen: np.ndarray) -> "Part":
        """Some images of the part: `chosen` is bool, a value per image. An epoch has as many crops fewer."""
        numbers = np.flatnonzero(chosen)
        return Part(
            self.fields.iloc[numbers].reset_index(drop=True),
            [self.images[n] for n in numbers],
            [self.targets[n] for n in numbers],
            None if self.crops is None else round(self.crops * len(numbers) / len(self.images)),
            None if self.diameters is None else self.diameters[numbers],
        )


def load_part(
    images: str | Path,
    targets: str | Path,
    fields: str | Path,
    splits: str | Path,
    *,
    modality: str,
    part: str,
    target: str = "binary",
    keep: Callable[[pd.DataFrame], np.ndarray] | None = None,
    diameters: bool = False,
    workers: int = 2,
) -> Part:
    """Load the images of one modality and part, with truths of a target. Raises InputError as `part_fields` does.

    keep : of the rows of the part, those to load (bool, a value per row); all by default. diameters : whether to
    measure those of the nuclei.
    """
    rows = part_fields(fields, splits, modality=modality, part=part)
    crops = len(rows)
    if keep is not None:
        rows = rows[keep(rows)].reset_index(drop=True)
    stored: dict[str, list] = {"images": [None] * len(rows), "targets": [None] * len(rows)}
    for array, of_array in rows.groupby("array"):
        for name, store in (("images", images), ("targets", Path(targets) / target)):
            pixels = read_rows(open_stack(store, array), of_array["row"].to_numpy(), workers)
            for place, image in zip(of_array.index, pixels, strict=True):
                stored[name][place] = image > 0 if name == "targets" and target == "binary" else image
    sizes = None
    if diameters:
        labels = iterate_images(rows, workers=workers, labels=Path(targets) / "instances")
        sizes = np.array([typical_diameter(of_image["labels"]) for _, of_image in labels])
    return Part(rows, **stored, crops=crops, diameters=sizes)


def load_training_parts(
    images: str | Path,
    targets: str | Path,
    fields: str | Path,
    splits: str | Path,
    *,
    modality: str,
    target: str = "binary",
    keep: Callable[[pd.DataFrame], np.ndarray] | None = None,
    diameters: bool = False,
    workers: int = 2,
) -> tuple[Part, Part | None]:
    """The training part, of which `keep` may choose rows, and the part that training may follow.

    `keep` and `diameters` as of `load_part`, for the training part.

    Only val may be followed, and only where the set has a test part as well: otherwise val is what the study scores.
    """
    parts = set(read_splits(splits)["part"])
    where = {"modality": modality, "target": target, "workers": workers}
    training = load_part(images, targets, fields, splits, part="train", keep=keep, diameters=diameters, **where)
    if not {"val", "test"} <= parts:
        return training, None
    return training, load_part(images, targets, fields, splits, part="val", **where)


def iterate_images(
    rows: pd.DataFrame, *, workers: int = 2, **stores: str | Path
) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """Yield rows of fields.tsv with what the stores hold for them: (row, {name of the store: (y, x)}).

    `row` is a named tuple. Up to twice `workers` images are read ahead. Raises InputError if an array is missing.
    """
    opened = cache(open_stack)

    def read(row: Any) -> tuple[Any, dict[str, np.ndarray]]:
        return row, {name: read_row(opened(store, row.array), int(row.row)) for name, store in stores.items()}

    with ThreadPoolExecutor(workers) as pool:
        left = rows.itertuples(index=False)
        ahead = deque(pool.submit(read, row) for row in islice(left, 2 * workers))
        try:
            while ahead:
                item = ahead.popleft().result()
                ahead.extend(pool.submit(read, row) for row in islice(left, 1))
                yield item
        finally:
            for future in ahead:
                future.cancel()


def part_fields(fields: str | Path, splits: str | Path, *, modality: str, part: str) -> pd.DataFrame:
    """Rows of fields.tsv of one modality and part, with the column `part`, sorted by image_id, index 0, 1, ...

    Raises InputError if an image_id has no part, or there is no such row.
    """
    joined = read_fields(fields).merge(
        read_splits(splits)[["image_id", "part"]], on="image_id", how="left", validate="many_to_one"
    )
    if joined["part"].isna().any():
        image_id = joined.loc[joined["part"].isna(), "image_id"].iloc[0]
        raise InputError(f"image_id {image_id!r} of {fields} is not in {splits}: they are of different data sets.")
    selected = joined[(joined["modality"] == modality) & (joined["part"] == part)]
    if selected.empty:
        present = joined.groupby("modality")["part"].unique()
        found = "; ".join(f"{name}: {', '.join(sorted(parts))}" for name, parts in present.items())
        raise InputError(f"{fields}: no images of modality {modality!r} in {part!r}; there are {found}.")
    return selected.sort_values("image_id", ignore_index=True)


def scored_part(splits: str | Path) -> str:
    """The part that a study is scored on: test, or val where a set has no test. Raises InputError if it has neither."""
    present = set(read_splits(splits)["part"])
    for part in ("test", "val"):
        if part in present:
            return part
    raise InputError(f"{splits}: there is neither a test nor a val part to score; change `split` in the configuration")


def read_fields(path: str | Path) -> pd.DataFrame:
    """Read fields.tsv: columns `FIELDS_COLUMNS`; row, height, width are int64, all else strings."""
    return read_table(path, "study/fields.tsv", FIELDS_COLUMNS)


def read_splits(path: str | Path) -> pd.DataFrame:
    """Read splits.tsv: columns `SPLITS_COLUMNS`, all strings.

    Raises InputError for another part than train, val, test.
    """
    splits = read_table(path, "study/splits.tsv", SPLITS_COLUMNS)
    unknown = sorted(set(splits["part"]) - set(PARTS))
    if unknown:
        raise InputError(f"{path}: part {unknown[0]!r} is not one of {', '.join(PARTS)}.")
    return splits


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read predictions.tsv: where in predictions.zarr each image is; row is int64, all else strings."""
    return read_table(path, "study/predictions.tsv", PREDICTIONS_COLUMNS)
