"""Conversion of annotated images to stores, and of annotations to targets."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from equinuclei.checksums import digest, sha256
from equinuclei.dataset.parts import FIELDS_COLUMNS, read_fields
from equinuclei.dataset.source_state import source_content, source_files
from equinuclei.errors import InputError, raise_problems
from equinuclei.images import masks
from equinuclei.omezarr import stacks as store
from equinuclei.runtime.files import is_done, make_folder, mark_done, require_space, write_json
from equinuclei.runtime.provenance import code_version, package_versions
from equinuclei.sources import read_image, read_mask, read_source, source_folder
from equinuclei.tables.files import write_table

logger = logging.getLogger("equinuclei.dataset.convert")


@dataclass(frozen=True)
class ConvertedFiles:
    """Files that a conversion makes.

    images, annotations : stores with the arrays "<modality>/<height>x<width>", (n, y, x). Images keep their dtype;
        masks keep their values, in the smallest unsigned dtype that holds all masks of an array.
    fields : TSV with the columns `equinuclei.dataset.parts.FIELDS_COLUMNS` and a row per image, sorted by modality and
        image_id. Paths of files inside the source's folder are relative to it.
    record : JSON, or None for no record: the source, its `state` (see `equinuclei.dataset.source_state`), the `content`
        of its files, and the versions of code and packages.
    """

    images: str | Path
    annotations: str | Path
    fields: str | Path
    record: str | Path | None = None


def convert_dataset(
    source: Mapping,
    output: ConvertedFiles,
    *,
    workers: int,
    pixel_size: float | None = None,
    state: str = "",
    code: str = "",
) -> None:
    """Convert a source to a store of images, a store of annotations and the table of fields.

    Every file is read and checked before the first array is written. If an interrupted conversion of the same files is
    repeated, it continues with the first incomplete array.

    Parameters
    ----------
    source
        See `equinuclei.sources.read_source`. Additional keys: `page`, the page of every image file to use, counted from
        0 (optional; masks have one page), and `mask`, a mapping with `kind` (three_class, instances, binary) and
        optionally `codes` and `border_as` (see `equinuclei.images.masks`).
    output
        Files to make. The table of fields is written after both stores.
    workers
        Threads that read, compress and write. Each holds one shard (`equinuclei.omezarr.stacks.SHARD_BYTES`) in memory.
    pixel_size
        Micrometres per pixel, if known.
    state
        State of the source, for the record.
    code
        Digest of the code. Unfinished work of different code is discarded.

    Raises
    ------
    InputError
        With up to five problems and their total: those of `read_source`, unreadable files, an image and mask of
        different shapes, a mask that does not match its kind. Also if a store exists with other content.
    """
    kind, codes, _ = _mask_settings(source["mask"])
    table = read_source(source)
    store.check_modalities(table["modality"])
    # Before the files are read: if one is changed in the meantime, the record must not match it.
    content = source_content(source_files(source)) if output.record is not None else ""
    read = partial(read_image, page=source.get("page"))
    plan = store.plan_stacks(_check_files(table, source_folder(source), read, kind, codes, workers))
    files = plan.drop(columns=["image", "mask"]).to_dict("list")
    key = digest(["convert", code, pixel_size, source.get("page"), files])
    sizes = [Path(path).stat().st_size for path in {*plan["image"], *plan["mask"]}]
    require_space(output.images, sum(sizes), f"converting {source_folder(source)}")
    images = _stacks_of_files(plan, "image", "dtype", read, pixel_size)
    annotations = _stacks_of_files(plan, "mask", "mask_dtype", read_mask, pixel_size)
    _write_store(output.images, "images", key, images, workers)
    _write_store(output.annotations, "annotations", key, annotations, workers)
    write_table(plan[FIELDS_COLUMNS], output.fields)
    if output.record is not None:
        versions = {"code_version": code_version(), "packages": package_versions()}
        write_json(output.record, {"source": dict(source), "state": state, "content": content, **versions})


def binarize_masks(
    annotations: str | Path, fields: str | Path, targets: str | Path, mask: Mapping, workers: int, code: str = ""
) -> None:
    """Derive the targets of a data set from its annotations.

    Parameters
    ----------
    annotations, fields
        Store and TSV of `convert_dataset`.
    targets
        Store to make. Its arrays "<kind>/<array>" have the rows of the annotations. The kinds are binary (uint8, 0 and
        1), three_class (uint8; 0 background, 1 border, 2 nucleus), distance (uint8, `masks.to_distance`) and instances
        (uint16, or uint32 if an image of the array has more than 65535 nuclei). Binary annotations yield neither
        three_class nor distance.
    mask
        `kind`, and optionally `codes` and `border_as` (see `equinuclei.images.masks`).
    workers
        Threads. Each holds one shard in memory.
    code
        Digest of the code. Unfinished work of different code is discarded.

    Raises
    ------
    InputError
        If the settings are invalid, an array is missing, or `targets` exists with other content.
    """
    kind, codes, border_as = _mask_settings(mask)
    table = read_fields(fields)
    derive: dict[str, tuple[Sequence[str], Callable[[np.ndarray], np.ndarray]]] = {
        "binary": (["uint8"], lambda pixels: masks.to_binary(pixels, kind, codes, border_as).astype(np.uint8)),
        "three_class": (["uint8"], lambda pixels: masks.to_three_class(pixels, kind, codes)),
        "distance": (["uint8"], lambda pixels: masks.to_distance(pixels, kind, codes, border_as)),
        "instances": (["uint16", "uint32"], lambda pixels: masks.to_instances(pixels, kind, codes, border_as)),
    }
    if kind == "binary":
        del derive["three_class"], derive["distance"]
    stacks = []
    for array, rows in table.groupby("array"):
        stored = store.open_stack(annotations, array)
        if stored.shape[0] != len(rows):
            raise InputError(f"{annotations}: array {array!r} has {stored.shape[0]} rows, {fields} has {len(rows)}.")
        pixel_size = store.read_pixel_size(annotations, array)
        for name, (dtypes, function) in derive.items():
            read = partial(_derive, function=function, stored=stored)
            stacks.append(_Stack.of(f"{name}/{array}", rows, dtypes, pixel_size, read, range(len(rows))))
    key = digest(["binarize", code, kind, dict(codes), border_as, table.to_dict("list")])
    _write_store(targets, "targets", key, stacks, workers)


@dataclass(frozen=True)
class _Stack:
    """An array (n, y, x) to write. `read` returns the image of a row; the first of `dtypes` that holds them is used."""

    array: str
    count: int
    height: int
    width: int
    dtypes: Sequence[str]
    pixel_size: float | None
    read: Callable[[int], np.ndarray]

    @classmethod
    def of(
        cls,
        array: str,
        rows: pd.DataFrame,
        dtypes: Sequence[str],
        pixel_size: float | None,
        read: Callable,
        arguments: Iterable,
    ) -> "_Stack":
        """The stack of `rows` of fields.tsv, the images of one array; `read` gets the argument of a row."""
        arguments = list(arguments)
        height, width = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
        return cls(array, len(rows), height, width, dtypes, pixel_size, lambda row: read(arguments[row]))


def _stacks_of_files(
    plan: pd.DataFrame, file_column: str, dtype_column: str, read: Callable[[str], np.ndarray], pixel_size: float | None
) -> list[_Stack]:
    """One stack per array of the plan, from the files in a column of it."""
    return [
        _Stack.of(array, rows, [_common_dtype(rows[dtype_column])], pixel_size, read, rows[file_column])
        for array, rows in ((array, rows.sort_values("row")) for array, rows in plan.groupby("array"))
    ]


def _write_store(target: str | Path, content: str, key: str, stacks: Sequence[_Stack], workers: int) -> None:
    target = Path(target)
    if target.exists() and any(target.iterdir()):
        if store.store_attributes(target).get("equinuclei", {}).get("key") == key:
            return
        raise InputError(f"{target} exists and was made from other inputs: remove it first.")
    about = {
        "content": content,
        "layout": "OME-Zarr images (n, y, x), one image or mask per n; fields.tsv names array and row of each",
        "key": key,
    }

    def build(folder: Path) -> None:
        store.create_store(folder, {"equinuclei": about})
        for stack in stacks:
            unit = digest(stack.array)[:16]
            if is_done(folder, unit):
                continue
            _write_stack(folder, stack, workers)
            mark_done(folder, unit)
            logger.info("wrote %d images of %s to %s", stack.count, stack.array, target.name)

    make_folder(target, key, build)


def _write_stack(folder: Path, stack: _Stack, workers: int) -> None:
    for dtype in stack.dtypes:
        array = store.create_stack(folder, stack.array, stack.count, stack.height, stack.width, dtype, stack.pixel_size)
        try:
            store.write_stack(array, partial(_read_as, read=stack.read, dtype=np.dtype(dtype)), workers)
            return
        except OverflowError:
            if dtype == stack.dtypes[-1]:
                raise


def _read_as(row: int, read: Callable[[int], np.ndarray], dtype: np.dtype) -> np.ndarray:
    pixels = read(row)
    if not np.can_cast(pixels.dtype, dtype):
        raise OverflowError(f"row {row} is {pixels.dtype}, which does not fit into {dtype}")
    return pixels.astype(dtype, copy=False)


def _derive(row: int, function: Callable[[np.ndarray], np.ndarray], stored: zarr.Array) -> np.ndarray:
    return function(store.read_row(stored, row))


def _mask_settings(mask: Mapping) -> tuple[str, masks.Codes, str]:
    kind, codes = mask["kind"], mask.get("codes") or masks.DEFAULT_CODES
    border_as = mask.get("border_as", "background")
    masks.check_settings(kind, codes, border_as)
    return kind, codes, border_as


def _common_dtype(names: pd.Series) -> str:
    return np.result_type(*map(np.dtype, names.unique())).name


def _check_files(
    table: pd.DataFrame,
    folder: Path,
    read: Callable[[str], np.ndarray],
    kind: str,
    codes: masks.Codes,
    workers: int,
) -> pd.DataFrame:
    """Read every file once. Return the table with shapes, dtypes, checksums and relative paths; raise all problems."""
    with ThreadPoolExecutor(workers) as pool:
        checked = list(
            pool.map(lambda image, mask: _check_pair(image, mask, read, kind, codes), table["image"], table["mask"])
        )
    raise_problems(str(folder), [problem for _, problems in checked for problem in problems])
    found = pd.DataFrame([facts for facts, _ in checked])
    for column in ("image", "mask"):
        found[f"{column}_file"] = [_relative(Path(path), folder) for path in table[column]]
    return pd.concat([table, found], axis="columns")


def _check_pair(
    image_path: str, mask_path: str, read: Callable[[str], np.ndarray], kind: str, codes: masks.Codes
) -> tuple[dict[str, int | str], list[str]]:
    """Facts about an image and its mask, and problems; there are no facts if there are problems."""
    problems: list[str] = []
    image = _read_or_report(image_path, read, problems)
    mask = _read_or_report(mask_path, read_mask, problems)
    if mask is not None:
        try:
            masks.check_mask(mask, kind, codes)
        except InputError as error:
            problems.append(f"{mask_path}: {error}")
    if image is not None and mask is not None and image.shape != mask.shape:
        problems.append(f"{image_path} is {_shape(image)}, but its mask {mask_path} is {_shape(mask)}")
    if image is None or mask is None or problems:
        return {}, problems
    facts: dict[str, int | str] = {
        "height": image.shape[0],
        "width": image.shape[1],
        "dtype": image.dtype.name,
        "mask_dtype": mask.dtype.name,
        "image_sha256": sha256(image_path),
        "mask_sha256": sha256(mask_path),
    }
    return facts, []


def _read_or_report(path: str, read: Callable[[str], np.ndarray], problems: list[str]) -> np.ndarray | None:
    """The pixels of a file, or None if it cannot be read, with the reason appended to `problems`."""
    try:
        return read(path)
    except InputError as error:
        problems.append(str(error))
        return None


def _shape(pixels: np.ndarray) -> str:
    return f"{pixels.shape[0]} x {pixels.shape[1]} pixels"


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
