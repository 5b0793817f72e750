"""Parts of a converted data set: reading its tables, and its images and targets at once or one by one."""

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


ChooseRows = Callable[[pd.DataFrame], np.ndarray]
"""A function of rows of fields.tsv that says which of them to keep: bool, one value per row."""


@dataclass(frozen=True)
class DatasetFiles:
    """Where a converted and split data set lies.

    images, targets : stores of `convert.convert_dataset` and `convert.binarize_masks`.
    fields, splits : TSV files; see `read_fields` and `read_splits`.
    """

    images: str | Path
    targets: str | Path
    fields: str | Path
    splits: str | Path


@dataclass(frozen=True)
class Part:
    """Images of one modality and one part of a data set and the truth to learn from them, in memory.

    fields : rows of fields.tsv with the column `part`, sorted by image_id.
    images : one image per row, (y, x), stored dtype.
    targets : the truth of one target (`equinuclei.networks.targets`) per row, (y, x): bool for "binary", uint8 for
        others; above 0 in nuclei.
    crops : number of crops in an epoch of training. None is one crop per image. Where images are left out, it is still
        the number of images in the whole part, so that training takes as many steps as on all of them.
    diameters : of the typical nucleus of each image, in pixels (`rescaling.typical_diameter`), NaN for an image without
        nuclei; None if they were not requested.
    """

    fields: pd.DataFrame
    images: list[np.ndarray]
    targets: list[np.ndarray]
    crops: int | None = None
    diameters: np.ndarray | None = None

    def subset(self, chosen: np.ndarray) -> "Part":
        """The images that `chosen` (bool, one value per image) is true for. The crops per epoch shrink with them."""
        numbers = np.flatnonzero(chosen)
        return Part(
            self.fields.iloc[numbers].reset_index(drop=True),
            [self.images[n] for n in numbers],
            [self.targets[n] for n in numbers],
            None if self.crops is None else round(self.crops * len(numbers) / len(self.images)),
            None if self.diameters is None else self.diameters[numbers],
        )


def load_part(
    files: DatasetFiles,
    *,
    modality: str,
    part: str,
    target: str = "binary",
    keep: ChooseRows | None = None,
    diameters: bool = False,
    workers: int = 2,
) -> Part:
    """Load the images of one modality and part and the truth of one target. Raises InputError as `part_fields` does.

    keep : which images of the part to load; None loads all of them. diameters : whether to measure the nuclei's.
    """
    rows = part_fields(files.fields, files.splits, modality=modality, part=part)
    crops = len(rows)
    if keep is not None:
        rows = rows[keep(rows)].reset_index(drop=True)
    images = _load_rows(rows, files.images, workers)
    truths = _load_rows(rows, Path(files.targets) / target, workers)
    if target == "binary":
        truths = [truth > 0 for truth in truths]
    measured = None
    if diameters:
        labels = iterate_images(rows, workers=workers, labels=Path(files.targets) / "instances")
        measured = np.array([typical_diameter(stored["labels"]) for _, stored in labels])
    return Part(rows, images, truths, crops, measured)


def load_training_parts(
    files: DatasetFiles,
    *,
    modality: str,
    target: str = "binary",
    keep: ChooseRows | None = None,
    diameters: bool = False,
    workers: int = 2,
) -> tuple[Part, Part | None]:
    """The training part, and the validation part to monitor training on, or None; arguments as of `load_part`.

    `keep` and `diameters` apply to the training part. The validation part is val, but only if there is a test part as
    well: otherwise the study is scored on val, and training must not see it.
    """
    training = load_part(
        files, modality=modality, part="train", target=target, keep=keep, diameters=diameters, workers=workers
    )
    if not {"val", "test"} <= set(read_splits(files.splits)["part"]):
        return training, None
    return training, load_part(files, modality=modality, part="val", target=target, workers=workers)


def iterate_images(
    rows: pd.DataFrame, *, workers: int = 2, **stores: str | Path
) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """Yield each row of fields.tsv, a named tuple, with its images (y, x) in the `stores`: (row, {store: image}).

    Up to 2 * `workers` images are read ahead. Raises InputError if an array is missing.
    """
    opened = cache(open_stack)

    def read(row: Any) -> tuple[Any, dict[str, np.ndarray]]:
        return row, {name: read_row(opened(store, row.array), int(row.row)) for name, store in stores.items()}

    with ThreadPoolExecutor(workers) as pool:
        remaining = rows.itertuples(index=False)
        ahead = deque(pool.submit(read, row) for row in islice(remaining, 2 * workers))
        try:
            while ahead:
                item = ahead.popleft().result()
                ahead.extend(pool.submit(read, row) for row in islice(remaining, 1))
                yield item
        finally:
            for future in ahead:
                future.cancel()


def part_fields(fields: str | Path, splits: str | Path, *, modality: str, part: str) -> pd.DataFrame:
    """Rows of fields.tsv of one modality and part, with the column `part`, sorted by image_id, index 0, 1, ...

    Raises InputError if an image_id belongs to no part, or if no row matches.
    """
    joined = read_fields(fields).merge(
        read_splits(splits)[["image_id", "part"]], on="image_id", how="left", validate="many_to_one"
    )
    if joined["part"].isna().any():
        image_id = joined.loc[joined["part"].isna(), "image_id"].iloc[0]
        raise InputError(f"image_id {image_id!r} of {fields} is not in {splits}: they belong to different data sets.")
    selected = joined[(joined["modality"] == modality) & (joined["part"] == part)]
    if selected.empty:
        present = joined.groupby("modality")["part"].unique()
        found = "; ".join(f"{name}: {', '.join(sorted(parts))}" for name, parts in present.items())
        raise InputError(f"{fields}: no images of modality {modality!r} in {part!r}; there are {found}.")
    return selected.sort_values("image_id", ignore_index=True)


def scored_part(splits: str | Path) -> str:
    """The part that a study is scored on: test, or else val. Raises InputError if the data set has neither."""
    present = set(read_splits(splits)["part"])
    for part in ("test", "val"):
        if part in present:
            return part
    raise InputError(f"{splits}: has neither a test nor a val part to score; change `split` in the configuration")


def read_fields(path: str | Path) -> pd.DataFrame:
    """Read fields.tsv: columns `FIELDS_COLUMNS`; row, height and width are int64, the others strings."""
    return read_table(path, "study/fields.tsv", FIELDS_COLUMNS)


def read_splits(path: str | Path) -> pd.DataFrame:
    """Read splits.tsv: columns `SPLITS_COLUMNS`, all strings.

    Raises InputError for a part other than train, val and test.
    """
    splits = read_table(path, "study/splits.tsv", SPLITS_COLUMNS)
    unknown = sorted(set(splits["part"]) - set(PARTS))
    if unknown:
        raise InputError(f"{path}: part {unknown[0]!r} is not one of {', '.join(PARTS)}.")
    return splits


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read predictions.tsv: where in predictions.zarr each image is; row is int64, all else strings."""
    return read_table(path, "study/predictions.tsv", PREDICTIONS_COLUMNS)


def _load_rows(rows: pd.DataFrame, store: str | Path, workers: int) -> list[np.ndarray]:
    """The images (y, x) of a store that rows of fields.tsv (index 0, 1, ...) refer to, in the order of the rows."""
    loaded: dict[int, np.ndarray] = {}
    for array, of_array in rows.groupby("array"):
        pixels = read_rows(open_stack(store, array), of_array["row"].to_numpy(), workers)
        loaded.update(zip(of_array.index, pixels, strict=True))
    return [loaded[place] for place in range(len(rows))]
