"""A plate, segmented: well by well, one process that predicts, and a thread that labels and writes beside it."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from equinuclei.channels import ChannelChoice
from equinuclei.checksums import digest, sha256
from equinuclei.errors import InputError, StoppedError
from equinuclei.images.instances import Cleaning, parted_nuclei
from equinuclei.images.rescaling import magnification
from equinuclei.inference.nuclei import ESTIMATED, SIZE_TOLERANCE, fitting_magnification, segment_image
from equinuclei.inference.tiling import predict_mosaic
from equinuclei.library.names import modality_of
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of
from equinuclei.omezarr.blocks import SMALLEST_LEVEL_OF_MAPS
from equinuclei.omezarr.metadata import known_version
from equinuclei.omezarr.plates import Plate, is_plate
from equinuclei.omezarr.writing import (
    PlateChannel,
    create_image,
    create_label,
    create_plate,
    link_well,
    write_pixels,
)
from equinuclei.plates.fields import LABEL, ConvertedPlate, ConvertedWell
from equinuclei.runtime.files import is_done, make_folder, mark_done
from equinuclei.runtime.finished import made_from

logger = logging.getLogger("equinuclei.plates.segment")

SIZE_WELLS = 5
"""Wells from which the size of a plate's nuclei is estimated."""

SIZE_PIXELS = 1024
"""Height and width, at most, of what is looked at in each of them."""

FOLDER = "folder"
"""Layout of a plate that is a folder of images which need not belong together."""

PROBABILITY = PlateChannel("nucleus probability", colour="FFFFFF")


@dataclass(frozen=True)
class SegmentationSettings:
    """How the nuclei of a plate are segmented.

    channel : the one that shows nuclei, as `equinuclei.channels.find_channel` takes it
    min_area, fill_holes, exclude_border : of `instances.nuclei`; the border is that of the well's mosaic
    diameter : of the typical nucleus, in pixels: the network sees all wells magnified alike, so that nuclei have the
        size at which it was trained. ESTIMATED: that of the nuclei found in one field of each of a few wells. None, or
        a network without a size of its own: the plate is taken as it is
    tile : wells larger than a tile of so many pixels squared are predicted in tiles; the result is the same, to
        rounding. None: in tiles as large as memory allows
    device, threads : of torch; threads on the CPU
    ngff_version : of the output
    """

    channel: ChannelChoice | None
    min_area: int
    diameter: float | str | None = ESTIMATED
    fill_holes: bool = False
    exclude_border: bool = False
    tile: int | None = None
    device: str = "cpu"
    threads: int = 1
    ngff_version: str = "0.5"

    def cleaning(self) -> Cleaning:
        """The settings of `instances.nuclei`."""
        return {
            "min_area": self.min_area,
            "fill_holes": self.fill_holes,
            "exclude_border": self.exclude_border,
        }


@dataclass(frozen=True)
class _Segmented:
    """A well at a time point.

    probability : of nucleus, uint8 (y, x); make_labels : makes the labels (y, x), by another thread
    """

    probability: np.ndarray
    make_labels: Callable[[], np.ndarray]


def segment_plate(
    plate: str | Path,
    fields: str | Path,
    weights: str | Path,
    output: str | Path,
    settings: SegmentationSettings,
    part: tuple[int, int] = (0, 1),
) -> None:
    """Segment the nuclei of a plate into a plate of its own, whose wells lie over those of `plate`.

    A well's image is the probability of nucleus, uint8 (255 is certain); `labels/nuclei` beneath it numbers the nuclei
    1, 2, ... (uint32), parted as the network's target allows (`instances.parted_nuclei`). Both have an axis t if the
    plate has one. Labels are made once per well from whole maps, so neither tiles nor fields cut a nucleus at their
    seams. Where fields overlap, a pixel is that of the field which the plate's own mosaic shows, so no nucleus is
    counted twice. A well is normalised with its own statistics, of pixels with an image. Where the plate is a folder of
    images, each of them is segmented by itself, as `equinuclei segment` does. An interrupted run continues with the
    first well that is not whole. The notes on the output give the `nucleus_diameter` (pixels) and the `magnification`
    that were used, the `sampled_diameters` of wells that they come from, the `channel`, and the `modality` and
    `model_diameter` that the model knows best.

    Parameters
    ----------
    plate, fields
        `plate.ome.zarr` and `fields.parquet` of `equinuclei.plates.convert.convert_plate`.
    weights
        Of a network; it is folded and predicts in float32.
    output
        OME-Zarr plate to make.
    settings
        How nuclei are segmented.
    part
        Number of this part from 0, and how many parts there are: part n takes every so many-th well from the n-th, so
        that several jobs share a plate. `join_parts` makes one plate of them.

    Raises
    ------
    InputError
        If plate, weights, channel or diameter cannot be used.
    """
    device = prepare_torch(settings.device, settings.threads, deterministic=True)
    network = fold(load_model(weights)).to(device).eval()
    converted = ConvertedPlate(plate, fields, settings.channel)
    if isinstance(settings.diameter, float | int):
        magnification(settings.diameter, network.diameter)  # raises now, not when the plate is begun
    wells = [converted.well(name) for name in converted.store.wells[part[0] :: part[1]]]
    # The key of the plate, as its table of fields does not tell images that came anew from those before.
    of_plate = [converted.store.notes.get("key"), sha256(fields)]
    inputs = digest(["segment", sha256(weights), of_plate, *_key_settings(settings), torch.__version__])
    segmentation = _Segmentation(converted, wells, network, device, settings, modality_of(weights))
    make_folder(output, digest([inputs, part]), segmentation.build, inputs=inputs)


def join_parts(plate: str | Path, parts: Sequence[str | Path], output: str | Path) -> None:
    """Make one plate of the parts that `segment_plate` has made of a plate.

    The result is the same, byte for byte, as that of one part. Files are linked, not copied, where the file system
    allows it; the parts stay as they are.

    Raises
    ------
    InputError
        If a well of `plate` is in none of the parts, or the parts were made from different inputs or magnified
        differently.
    StoppedError
        If a part was replaced meanwhile.
    """
    whole, made = Plate(plate), [made_from(part) for part in parts]
    if len({of_part.get("inputs") for of_part in made}) > 1:
        raise InputError(
            f"{output}: its parts were made with different weights, settings or fields: remove "
            f"{Path(parts[0]).parent}, and run again"
        )
    # Where there are more parts than wells, some are empty folders.
    segmented = [Plate(part) for part in parts if is_plate(part)]
    part_of = {well: part for part in segmented for well in part.wells}
    if missing := [well for well in whole.wells if well not in part_of]:
        raise InputError(f"{output}: no part holds well {', '.join(missing)}: remove the parts, and run again")
    first = segmented[0]
    if any(part.notes != first.notes for part in segmented):
        raise InputError(
            f"{output}: its parts took nuclei for different sizes, as their machines compute differently: set "
            "`plates: {diameter: ...}` to a number of pixels, and run again"
        )

    def build(folder: Path) -> None:
        joined = create_plate(folder, whole.name, whole.wells, first.ngff_version, first.notes)
        for well, part in part_of.items():
            link_well(part, joined, well)
        if made != [made_from(part) for part in parts]:
            raise StoppedError(f"{output}: its parts were made anew while they were joined: run again")

    # Parts of an earlier version have no keys.
    keys = [of_part.get("key", str(part)) for of_part, part in zip(made, parts, strict=True)]
    make_folder(output, digest(["join", whole.name, whole.wells, keys]), build, inputs=made[0].get("inputs", ""))


def _key_settings(settings: SegmentationSettings) -> list[object]:
    return [
        settings.channel, settings.cleaning(), settings.diameter, settings.tile, settings.device, settings.threads,
        settings.ngff_version,
    ]  # fmt: skip


@dataclass(frozen=True)
class _Segmentation:
    """Wells of a plate that one job segments."""

    plate: ConvertedPlate
    wells: Sequence[ConvertedWell]
    network: SegmentationNetwork
    device: torch.device
    settings: SegmentationSettings
    modality: str

    def build(self, folder: Path) -> None:
        """Make the plate in a folder for unfinished work, one well after the other; finished ones are left alone.

        Where there are more parts than wells, the folder of some stays empty.
        """
        if not self.wells:
            return
        if not is_done(folder, "plate"):
            names = [well.name for well in self.wells]
            version = known_version(self.settings.ngff_version)
            create_plate(folder, self.plate.store.name, names, version, self._notes())
            mark_done(folder, "plate")
        output = Plate(folder)
        left = [well for well in self.wells if not is_done(folder, well.name)]
        started, writing = time.monotonic(), None
        with ThreadPoolExecutor(1) as writer:
            for count, well in enumerate(left, 1):
                for moment in range(well.image.times):
                    segmented = self._segment(well, moment, output.notes["magnification"])
                    if writing is not None:  # memory holds two time points of a well at most
                        writing.result()
                    writing = writer.submit(self._write, output, well, moment, segmented)
                rate = (time.monotonic() - started) / count
                logger.info(
                    "%s: %d of %d wells, %.2f s per well, %.0f s left",
                    well.name, len(self.wells) - len(left) + count, len(self.wells), rate, rate * (len(left) - count),
                )  # fmt: skip
            if writing is not None:
                writing.result()

    def _segment(self, well: ConvertedWell, moment: int, factor: float | None) -> "_Segmented":
        """A well at a time point. factor : its magnification; None: every field is an image of its own."""
        if factor is None:
            return self._segment_images(well, moment)
        valid = well.valid_pixels(moment)
        codes, probability = (np.zeros(well.shape, np.uint8) for _ in range(2))
        if valid.any():
            target, extent = target_of(self.network.target), well.extent()
            maps = predict_mosaic(
                self.network,
                well.nuclear_image(moment)[extent],
                valid=valid[extent],
                tile=self.settings.tile,
                device=self.device,
                magnification=factor,
            )
            codes[extent] = target.codes(maps)
            probability[extent] = np.rint(255 * target.probability(maps))
        return _Segmented(probability, lambda: parted_nuclei(codes, self.network.target, **self.settings.cleaning()))

    def _segment_images(self, well: ConvertedWell, moment: int) -> "_Segmented":
        """Every field by itself, as `equinuclei segment` would: normalised and magnified as it needs."""
        labels, probability = np.zeros(well.shape, np.int32), np.zeros(well.shape, np.uint8)
        mosaic = well.nuclear_image(moment)
        for field in well.readable(moment).itertuples():
            place = slice(field.y0, field.y0 + field.height), slice(field.x0, field.x0 + field.width)
            found = segment_image(
                self.network,
                mosaic[place],
                diameter=self.settings.diameter,
                tile=self.settings.tile,
                device=self.device,
                **self.settings.cleaning(),
            )
            labels[place] = np.where(found.labels > 0, found.labels + labels.max(), 0)
            probability[place] = np.rint(255 * found.probability)
        return _Segmented(probability, lambda: labels)

    def _write(self, output: Plate, well: ConvertedWell, moment: int, segmented: "_Segmented") -> None:
        labels = segmented.make_labels().astype(np.uint32)
        times = well.image.times if well.image.has_time else None
        if moment == 0:
            create_image(
                output,
                well.name,
                [PROBABILITY],
                well.shape,
                np.uint8,
                well.image.pixel_size,
                times,
                SMALLEST_LEVEL_OF_MAPS,
            )
            create_label(output, well.name, LABEL)
        image = output.image(well.name)
        write_pixels(image, lambda _, y, x: segmented.probability[y, x], moment)
        write_pixels(image.label(LABEL), lambda y, x: labels[y, x], moment)
        if moment == well.image.times - 1:
            mark_done(output.path, well.name)

    def _notes(self) -> dict[str, object]:
        """The size of nuclei that was taken, and what the checks of a plate's quality ask of model and channel."""
        first = self.plate.store.image(self.plate.store.wells[0])
        return {
            **self._choose_size(),
            "channel": first.channels[self.plate.channel],
            "modality": self.modality,
            "model_diameter": self.network.diameter,
        }

    def _choose_size(self) -> dict[str, object]:
        """Diameter of a plate's typical nucleus in pixels (None if it is not needed), and the magnification for it.

        The magnification is None where the images of a plate do not belong together: each has its own.
        """
        if self.plate.store.notes.get("layout") == FOLDER:
            return {"nucleus_diameter": None, "magnification": None}
        diameter, sampled = self.settings.diameter, {}
        estimated = isinstance(diameter, str)
        if isinstance(diameter, str):
            sampled = {} if self.network.diameter is None else self._sampled_diameters()
            diameter = float(np.median(list(sampled.values()))) if sampled else None
        if diameter is None:
            return {"nucleus_diameter": None, "magnification": 1.0}
        factor = round(fitting_magnification(self.network, diameter, self.wells[0].shape), 2)
        if estimated and 1 / SIZE_TOLERANCE < factor < SIZE_TOLERANCE:
            factor = 1.0  # near enough, and every pixel stays what it is
        logger.info("nuclei are about %.0f pixels across: the plate is magnified %g times", diameter, factor)
        size = {"nucleus_diameter": round(diameter, 1), "magnification": factor}
        return size | ({"sampled_diameters": {well: round(d, 1) for well, d in sampled.items()}} if sampled else {})

    def _sampled_diameters(self) -> dict[str, float]:
        """Typical diameters, in pixels, of wells spread evenly over the plate, without those that have no nucleus."""
        names, found = self.plate.store.wells, {}
        for place in np.unique(np.linspace(0, len(names) - 1, SIZE_WELLS).round().astype(int)):
            well = self.plate.well(names[place])
            # A field, not the middle of the mosaic, which may lie between fields.
            readable = well.readable()
            for field in readable.iloc[len(readable) // 2 :].head(1).itertuples():
                rows = slice(field.y0, field.y0 + min(field.height, SIZE_PIXELS))
                columns = slice(field.x0, field.x0 + min(field.width, SIZE_PIXELS))
                image = well.nuclear_image()[rows, columns]
                segmented = segment_image(self.network, image, tile=self.settings.tile, device=self.device)
                found[well.name] = segmented.diameter
        return {well: size for well, size in found.items() if not np.isnan(size)}
