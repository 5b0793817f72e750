"""A plate, segmented: well by well, one process that predicts, and a thread that labels and writes beside it."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from equinuclei.checksums import digest, sha256
from equinuclei.errors import InputError
from equinuclei.images.instances import parted_nuclei
from equinuclei.images.rescaling import magnification, typical_diameter
from equinuclei.inference.nuclei import ESTIMATED, SIZE_TOLERANCE, fitting_magnification, segment_image
from equinuclei.inference.tiling import TILE, predict_mosaic
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of
from equinuclei.omezarr.plates import (
    PlateChannel,
    create_label,
    create_plate,
    create_well_image,
    link_well,
    list_wells,
    open_well,
    plate_attributes,
    plate_name,
    read_field_table,
    read_pixel_size,
    read_well,
    write_field_table,
    write_well,
)
from equinuclei.omezarr.plates import ngff_version as read_ngff_version
from equinuclei.plates.fields import LABEL, channel_number, fields_with_image, valid_pixels
from equinuclei.runtime.files import is_done, mark_done, work_folder

logger = logging.getLogger("equinuclei.plates.segment")

SIZE_WELLS = 5
"""Wells that tell the size of a plate's nuclei, where nobody does."""

PROBABILITY = PlateChannel("nucleus probability", colour="FFFFFF")


def segment_plate(
    plate: str | Path,
    fields: str | Path,
    weights: str | Path,
    output: str | Path,
    *,
    channel: str | None,
    min_area: int,
    diameter: float | str | None = ESTIMATED,
    fill_holes: bool = False,
    exclude_border: bool = False,
    tile: int,
    device: str = "cpu",
    threads: int = 1,
    ngff_version: str = "0.5",
    part: tuple[int, int] = (0, 1),
) -> None:
    """Segment the nuclei of a plate into a plate of its own, whose wells lie over those of `plate`.

    A well's image is the probability of nucleus, uint8 (255 is certain); `labels/nuclei` beneath it numbers the nuclei
    1, 2, ... (uint32), parted as the network's target allows (`instances.parted_nuclei`). Labels are made once per well
    from whole maps, so no nucleus is cut where tiles meet, or where fields do. Where fields overlap, a pixel is that of
    the field which the plate's own mosaic shows, so no nucleus is counted twice. Normalised with the
    statistics of a well, of pixels with an image. An interrupted run goes on with the first well that is not whole.

    Parameters
    ----------
    plate, fields
        `plate.ome.zarr` and `fields.parquet` of `equinuclei.plates.convert.convert_plate`.
    weights
        Of a network; it is folded and predicts in float32.
    output
        OME-Zarr plate to make.
    channel
        Name of the channel that nuclei are seen in; None where the plate has one.
    min_area, fill_holes, exclude_border
        Of `instances.nuclei`; the border is that of the well's mosaic.
    diameter
        Of the typical nucleus, in pixels: the network sees the plate magnified so that it is as large as the network
        knows it best. One for all wells, so that they compare; the attributes of the output tell it. ESTIMATED: that of
        the nuclei found in a field of each of a few wells. None, or a network without a size of its own: the plate is
        taken as it is.
    tile
        Wells larger than a tile of so many pixels squared are predicted in tiles. The result is the same, to rounding.
    device, threads
        Of torch; threads on the CPU.
    ngff_version
        Of the output.
    part
        Number of this part from 0, and how many parts there are: every so many-th well alone is segmented, so that
        several jobs share a plate. `join_parts` makes one plate of them.

    Raises
    ------
    InputError
        If plate, weights, channel or diameter cannot be used.
    """
    settings = {"threads": threads, "deterministic": True}
    torch_device = prepare_torch(device, settings["threads"], deterministic=settings["deterministic"])
    network = fold(load_model(weights)).to(torch_device).eval()
    target = target_of(network.target)
    cleaning = {"min_area": min_area, "fill_holes": fill_holes, "exclude_border": exclude_border}
    wells = list_wells(plate)
    number = channel_number(plate, wells, channel)
    if isinstance(diameter, float | int):
        magnification(diameter, network.diameter)  # raises now, not when the plate is begun
    every, wells = wells, wells[part[0] :: part[1]]
    if not wells:  # more parts than wells
        Path(output).mkdir(parents=True, exist_ok=True)
        return
    read = {well: fields_with_image(fields, plate, well) for well in wells}
    key = digest(
        ["segment", sha256(weights), sha256(fields), channel, cleaning, diameter, tile, device, threads, ngff_version,
         torch.__version__, part]
    )  # fmt: skip
    with work_folder(output, key) as folder:
        if folder is None:
            return
        if not is_done(folder, "plate"):
            size = _size(network, plate, fields, every, number, diameter, tile, torch_device)
            create_plate(folder, plate_name(plate), wells, ngff_version, {"equinuclei": size})
            mark_done(folder, "plate")
        factor = plate_attributes(folder)["equinuclei"]["magnification"]
        left = [well for well in wells if not is_done(folder, well)]
        started = time.monotonic()
        with ThreadPoolExecutor(1) as writer, _at_most_one(writer) as submit:
            for count, well in enumerate(left, 1):
                valid = valid_pixels(open_well(plate, well).shape[-2:], read[well])
                codes, probability = (np.zeros(valid.shape, np.uint8) for _ in range(2))
                if valid.any():
                    # Arrays of all wells are as large as that of the largest; the others end in empty rows or columns.
                    mosaic = _extent(read_field_table(plate, well))
                    image = read_well(plate, well, channel=number)[mosaic]
                    maps = predict_mosaic(
                        network, image, valid=valid[mosaic], tile=tile, device=torch_device, magnification=factor
                    )
                    codes[mosaic] = target.codes(maps)
                    probability[mosaic] = np.rint(255 * target.probability(maps))
                label = partial(parted_nuclei, codes, network.target, **cleaning)
                submit(_write_segmentation, plate, folder, well, probability, label)
                rate = (time.monotonic() - started) / count
                logger.info(
                    "%s: %d of %d wells, %.2f s per well, %.0f s left",
                    well, len(wells) - len(left) + count, len(wells), rate, rate * (len(left) - count),
                )  # fmt: skip


def join_parts(plate: str | Path, parts: Sequence[str | Path], output: str | Path) -> None:
    """Make one plate of the parts that `segment_plate` has made of a plate.

    The result is the same, byte for byte, as that of one part. Files are linked, not copied, where the file system
    allows it; the parts stay as they are.

    Raises
    ------
    InputError
        If a well of `plate` is in none of the parts.
    """
    wells = list_wells(plate)
    # Of more parts than wells, some are no plate.
    holds = {well: Path(part) for part in parts if plate_attributes(part) for well in list_wells(part)}
    if missing := [well for well in wells if well not in holds]:
        raise InputError(f"{output}: no part holds well {', '.join(missing)}: remove the parts, and run again")
    version = read_ngff_version(next(iter(holds.values())))
    with work_folder(output, digest(["join", [str(part) for part in parts]])) as folder:
        if folder is None:
            return
        size, *others = [plate_attributes(part)["equinuclei"] for part in holds.values()]
        if any(other != size for other in others):
            raise InputError(
                f"{output}: its parts took nuclei for different sizes, as their machines compute differently: set "
                "`plates: {diameter: ...}` to a number of pixels, and run again"
            )
        create_plate(folder, plate_name(plate), wells, version, {"equinuclei": size})
        for well, part in holds.items():
            link_well(part, folder, well)


def _size(
    network: SegmentationNetwork,
    plate: str | Path,
    fields: str | Path,
    wells: Sequence[str],
    channel: int,
    diameter: float | str | None,
    tile: int,
    device: torch.device,
) -> dict[str, float | None]:
    """Diameter of a plate's typical nucleus in pixels (None where it does not count), and the magnification for it."""
    told = diameter != ESTIMATED
    if not told:
        known = network.diameter is not None
        diameter = _typical_diameter(network, plate, fields, wells, channel, tile, device) if known else None
    if diameter is None:
        return {"nucleus_diameter": None, "magnification": 1.0}
    factor = round(fitting_magnification(network, diameter, open_well(plate, wells[0]).shape[-2:]), 2)
    if not told and 1 / SIZE_TOLERANCE < factor < SIZE_TOLERANCE:
        factor = 1.0  # near enough, and every pixel stays what it is
    logger.info("nuclei are about %.0f pixels across: the plate is magnified %g times", diameter, factor)
    return {"nucleus_diameter": round(diameter, 1), "magnification": factor}


def _typical_diameter(
    network: SegmentationNetwork,
    plate: str | Path,
    fields: str | Path,
    wells: Sequence[str],
    channel: int,
    tile: int,
    device: torch.device,
) -> float | None:
    """The median over wells that lie evenly in the plate; None where none of them has a nucleus."""
    found = []
    for place in np.unique(np.linspace(0, len(wells) - 1, SIZE_WELLS).round().astype(int)):
        # A field, not the middle of the mosaic, which may lie between fields.
        of_well = fields_with_image(fields, plate, wells[place])
        for field in of_well.iloc[len(of_well) // 2 :].head(1).itertuples():
            window = (
                slice(field.y0, field.y0 + min(field.height, TILE)),
                slice(field.x0, field.x0 + min(field.width, TILE)),
            )
            image = read_well(plate, wells[place], channel=channel)[window]
            found.append(typical_diameter(segment_image(network, image, tile=tile, device=device)[0]))
    known = [size for size in found if not np.isnan(size)]
    return float(np.median(known)) if known else None


def _extent(fields: pd.DataFrame) -> tuple[slice, slice]:
    """The rows and columns that the fields of a well reach, readable or not."""
    return slice(int((fields["y0"] + fields["height"]).max())), slice(int((fields["x0"] + fields["width"]).max()))


def _write_segmentation(
    plate: Path, folder: Path, well: str, probability: np.ndarray, label: Callable[[], np.ndarray]
) -> None:
    labels = label().astype(np.uint32)
    create_well_image(folder, well, [PROBABILITY], *probability.shape, np.uint8, read_pixel_size(plate, well))
    write_well(folder, well, lambda _, y, x: probability[y, x])
    create_label(folder, well, LABEL, np.uint32)
    write_well(folder, well, lambda y, x: labels[y, x], label=LABEL)
    write_field_table(folder, well, read_field_table(plate, well))
    mark_done(folder, well)


@contextmanager
def _at_most_one(pool: ThreadPoolExecutor) -> Iterator:
    """Yield a `submit` that first waits for what was submitted before: memory holds two wells at most."""
    before: list[Future] = []

    def submit(function, *arguments) -> None:
        if before:
            before.pop().result()
        before.append(pool.submit(function, *arguments))

    yield submit
    if before:
        before.pop().result()
