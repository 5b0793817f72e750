"""Images beside the page of a plate: its wells and fields as JPEGs that a browser shows offline, within a budget."""

import io
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from equinuclei.omezarr.blocks import shrink
from equinuclei.omezarr.plates import FIELD_COLUMNS, Plate, Pyramid
from equinuclei.plates.fields import LABEL

logger = logging.getLogger("equinuclei.plates.page_images")

WELL_EDGE = 2048
"""Longer edge, in pixels, that the image of a whole well has at most."""

QUALITY = 85  # of JPEG
SAMPLE_WELLS = 5
SMALLEST = 512  # pixels; the image of a well that fits into this is not made smaller
OUTLINES = -1
"""What stands for the outlines of nuclei where channels are numbered."""

Region = tuple[slice, slice]
WHOLE: Region = (slice(None), slice(None))


@dataclass(frozen=True)
class Resolution:
    """How fine the images of a page are, as levels: level n has a pixel for 2^n x 2^n of the camera's.

    well : of the image of a whole well, in every channel
    fields : of the images of single fields, by the number of the channel; those absent have none, as that of the well
        is as fine
    """

    well: int
    fields: Mapping[int, int]

    @property
    def outlines(self) -> int | None:
        """Of the outlines of single fields: the finest of all channels; None where fields have no images."""
        return min(self.fields.values(), default=None)


@dataclass(frozen=True)
class PlatePixels:
    """The pixels that images are made of.

    plate : with all its channels
    segmentation : its nuclei; wells of the same size
    nuclear_channel : number of the channel in which they were segmented
    """

    plate: Plate
    segmentation: Plate
    nuclear_channel: int

    def levels(self, well: str) -> int:
        """Number of levels in which images of a well may be made: down to `SMALLEST`. Not all of them are stored."""
        image, count = self.plate.image(well), 1
        while max(image.height, image.width) >> (count - 1) > SMALLEST and min(image.height, image.width) >> count:
            count += 1
        return count

    def read(self, well: str, time: int, channel: int, level: int, region: Region = WHOLE) -> np.ndarray:
        """A channel (y, x) of a well as stored, or bool (y, x), the outlines of its nuclei (channel OUTLINES)."""
        if channel == OUTLINES:
            return outlines(self.labels(well, time, level, region))
        image = self.plate.image(well)
        return shrink(*_read_finer(image, (*image.time_index(time), channel), level, region))

    def labels(self, well: str, time: int, level: int, region: Region = WHOLE) -> np.ndarray:
        """The labels (y, x) of the nuclei of a well; numbers, 0 is background."""
        image = self.segmentation.image(well).label(LABEL)
        pixels, step = _read_finer(image, image.time_index(time), level, region)
        height, width = (size // step * step for size in pixels.shape)
        return pixels[:height:step, :width:step]


def _read_finer(image: Pyramid, index: tuple[int, ...], level: int, region: Region) -> tuple[np.ndarray, int]:
    """A region (y, x) of a level from the coarsest stored one that is as fine, and how many of its pixels make one."""
    stored = max(number for number, reduction in enumerate(image.reductions) if reduction <= 2**level)
    step = 2**level // image.reductions[stored]
    part: list[slice] = [
        slice(*(None if end is None else step * end for end in (side.start, side.stop))) for side in region
    ]
    place: tuple[int | slice, ...] = (*index, *part)
    return np.asarray(image.level(stored)[place]), step


def write_page_images(pixels: PlatePixels, folder: Path, *, budget: float, workers: int = 1) -> dict[str, object]:
    """Write the images of all wells, and of their fields as finely as the budget allows.

    Parameters
    ----------
    pixels
        Of the plate.
    folder
        To write into: `<well>/t<time>_c<channel>.jpg` and `<well>/t<time>_outlines.png` of whole wells, and with
        `_f<field>` before `_c` or `_outlines` of fields; times and channels are numbered from 0. A JPEG holds
        255 sqrt((v - low) / (high - low)) of the stored values v: what a camera records is noisier where it is
        brighter. A field without any pixel has no file. Outlines are white, the rest of a PNG is transparent.
    budget
        Bytes for all images. The nuclear channel comes first (`choose_resolution`).
    workers
        Threads; as many channels of a well are in memory.

    Returns
    -------
    dict
        Plain values for the page: channels (name; low and high, the range in which all wells are displayed alike;
        field, the factor by which its fields are reduced, or None), nuclear, outlines (that factor of theirs),
        pixel_size (micrometres or None), height and width (of a mosaic, pixels), reduction (of whole wells), bytes, and
        wells: by name and time point, channels (low and high of the encoding, and contrast: the 1 and 99.8 %
        quantiles), and fields (field, y0, x0, height, width, and the contrast by channel; None where it has no image).
    """
    plate, first = pixels.plate, pixels.plate.image(pixels.plate.wells[0])
    sizes = _sizes(pixels)
    resolution = choose_resolution(sizes, first_well_level(pixels), pixels.nuclear_channel, budget)
    with ThreadPoolExecutor(workers) as pool:
        written = list(pool.map(lambda well: _write_well(pixels, well, resolution, folder / well), plate.wells))
    total = sum(path.stat().st_size for path in folder.rglob("*.*") if path.suffix in (".jpg", ".png"))
    logger.info("%d wells, %.1f MB of images: %s", len(written), total / 1e6, resolution)
    images = [image for well in written for image in well]
    return {
        "channels": [
            {
                "name": name,
                **_common_range([image["channels"][number] for image in images]),
                "field": _factor(resolution.fields.get(number)),
            }
            for number, name in enumerate(first.channels)
        ],
        "nuclear": pixels.nuclear_channel,
        "outlines": _factor(resolution.outlines),
        "pixel_size": first.pixel_size,
        "height": first.height,
        "width": first.width,
        "reduction": 2**resolution.well,
        "bytes": total,
        "wells": dict(zip(plate.wells, written, strict=True)),
    }


def choose_resolution(
    sizes: Mapping[tuple[int, int], float], well: int, nuclear_channel: int, budget: float
) -> Resolution:
    """The finest images that fit into a budget.

    Whole wells come first, with at most half of it; then the fields of the nuclear channel with the outlines of nuclei;
    then those of all other channels, alike. A field is left out where the image of its well is as fine.

    sizes : bytes of the whole plate by channel (or OUTLINES) and level; well : finest level for whole wells.
    """
    levels = sorted({level for _, level in sizes})
    channels = sorted({channel for channel, _ in sizes} - {OUTLINES})

    def cost(of: Sequence[int], level: int) -> float:
        return sum(sizes[channel, level] for channel in of)

    everything = [*channels, OUTLINES]
    at = next((level for level in levels if level >= well and cost(everything, level) <= budget / 2), levels[-1])
    left = budget - cost(everything, at)
    fields: dict[int, int] = {}
    others = [channel for channel in channels if channel != nuclear_channel]
    for group, drawn in (([nuclear_channel], [nuclear_channel, OUTLINES]), (others, others)):
        finest = next((level for level in levels if level < at and cost(drawn, level) <= left), None)
        if finest is None:
            break
        fields |= dict.fromkeys(group, finest)
        left -= cost(drawn, finest)
    return Resolution(at, fields)


def first_well_level(pixels: PlatePixels) -> int:
    """The finest level at which a whole well is not larger than WELL_EDGE, or the coarsest that there is."""
    well = pixels.plate.wells[0]
    image = pixels.plate.image(well)
    levels = pixels.levels(well)
    return next((n for n in range(levels) if max(image.height, image.width) <= WELL_EDGE * 2**n), levels - 1)


def outlines(labels: np.ndarray) -> np.ndarray:
    """Bool (y, x): pixels that have one of another label, or of background, among their four neighbours.

    Lines of two pixels, the edge of a nucleus in their middle, which stay whole where they are shown at half their
    size. labels : integers (y, x). It is `skimage.segmentation.find_boundaries(labels, connectivity=1, mode="thick")`
    in a seventh of the time.
    """
    found = np.zeros(labels.shape, bool)
    for before, after in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        differ = labels[before] != labels[after]
        found[before] |= differ
        found[after] |= differ
    return found


def _factor(level: int | None) -> int | None:
    return None if level is None else 2**level


def _sizes(pixels: PlatePixels) -> dict[tuple[int, int], float]:
    """Bytes that all mosaics take, by channel (or OUTLINES) and level, estimated from a field of a few wells."""
    wells = pixels.plate.wells
    chosen = [wells[place] for place in np.unique(np.linspace(0, len(wells) - 1, SAMPLE_WELLS).round().astype(int))]
    area = sum(
        height * width * pixels.plate.image(well).times
        for well in wells
        for _, _, _, height, width in _fields(pixels, well)
    )
    found: dict[tuple[int, int], float] = {}
    for level in range(pixels.levels(wells[0])):
        for channel in (*range(len(pixels.plate.image(wells[0]).channels)), OUTLINES):
            encoded = [_encode_sample(pixels, well, channel, level) for well in chosen]
            share = sum(length for length, _ in encoded) / max(1, sum(size for _, size in encoded))
            found[channel, level] = share * area / 4**level
    return found


def _encode_sample(pixels: PlatePixels, well: str, channel: int, level: int) -> tuple[int, int]:
    """Bytes and pixels of the middle field of a well."""
    fields = _fields(pixels, well)
    image = pixels.read(well, 0, channel, level, _rectangle(fields[len(fields) // 2], level))
    return len(_png(image) if channel == OUTLINES else _jpeg(image, _extent(image))), image.size


def _write_well(pixels: PlatePixels, well: str, resolution: Resolution, folder: Path) -> list[dict]:
    """Write the images of a well; what the page has to know of it, by time point (see `write_page_images`)."""
    folder.mkdir(parents=True, exist_ok=True)
    times = range(pixels.plate.image(well).times)
    return [_write_time(pixels, well, time, resolution, folder) for time in times]


def _write_time(pixels: PlatePixels, well: str, time: int, resolution: Resolution, folder: Path) -> dict:
    def write(name: str, content: bytes) -> None:
        (folder / f"t{time}_{name}").write_bytes(content)

    count, fields = len(pixels.plate.image(well).channels), _fields(pixels, well)
    contrasts: dict[int, list[list[float] | None]] = {field[0]: [None] * count for field in fields}
    channels = []
    for channel in range(count):
        finest = resolution.fields.get(channel, resolution.well)
        mosaic = pixels.read(well, time, channel, finest)
        encoded = _extent(mosaic)
        coarse = mosaic if finest == resolution.well else pixels.read(well, time, channel, resolution.well)
        write(f"c{channel}.jpg", _jpeg(coarse, encoded))
        channels.append({"low": encoded[0], "high": encoded[1], "contrast": _contrast(mosaic)})
        for field in fields:
            crop = mosaic[_rectangle(field, finest)]
            contrasts[field[0]][channel] = contrast = _contrast(crop)
            if channel in resolution.fields and contrast is not None:
                write(f"f{field[0]}_c{channel}.jpg", _jpeg(crop, encoded))
    write("outlines.png", _png(pixels.read(well, time, OUTLINES, resolution.well)))
    if resolution.outlines is not None:
        drawn = pixels.read(well, time, OUTLINES, resolution.outlines)
        for field in fields:
            write(f"f{field[0]}_outlines.png", _png(drawn[_rectangle(field, resolution.outlines)]))
    return {"channels": channels, "fields": [[*field, contrasts[field[0]]] for field in fields]}


def _fields(pixels: PlatePixels, well: str) -> list[tuple[int, int, int, int, int]]:
    """Number, y0, x0, height and width (pixels of the mosaic) of the fields of a well."""
    table = pixels.plate.field_table(well)[FIELD_COLUMNS]
    return [(int(n), int(y), int(x), int(h), int(w)) for n, y, x, h, w in table.itertuples(index=False)]


def _rectangle(field: tuple[int, int, int, int, int], level: int) -> Region:
    """Rows and columns of a level that hold all of a field: its edges are rounded outwards."""
    _, y0, x0, height, width = field
    step = 2**level
    return slice(y0 // step, -(-(y0 + height) // step)), slice(x0 // step, -(-(x0 + width) // step))


def _values(image: np.ndarray) -> np.ndarray:
    """A sixteenth of the pixels, without those that no field covers; zeros fill them."""
    few = image[::4, ::4] if image.size > 1 << 18 else image
    return few[few != 0]


def _extent(image: np.ndarray) -> tuple[float, float]:
    """The range of values that an image is encoded in: all but the outermost 0.005 %."""
    values = _values(image)
    if not values.size:
        return 0.0, 1.0
    low, high = (float(f"{value:.6g}") for value in np.quantile(values, [0.00005, 0.99995]))
    return low, max(high, low + (1.0 if image.dtype.kind in "iu" else max(1e-6, 1e-6 * abs(low))))


def _contrast(image: np.ndarray) -> list[float] | None:
    """The 1 and 99.8 % quantiles of an image; None where nothing was imaged."""
    values = _values(image)
    if not values.size:
        return None
    return [float(f"{value:.6g}") for value in np.quantile(values, [0.01, 0.998])]


def _common_range(channels: Sequence[Mapping]) -> dict[str, float]:
    """The range in which a channel of all wells is displayed: an outlying well does not darken all others."""
    found = [channel["contrast"] for channel in channels if channel["contrast"] is not None]
    if not found:
        return {"low": 0.0, "high": 1.0}
    low, high = np.array(found).T
    return {"low": float(np.median(low)), "high": float(max(np.quantile(high, 0.9), np.median(low) + 1e-6))}


def _jpeg(image: np.ndarray, extent: tuple[float, float]) -> bytes:
    low, high = extent
    share = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    grey = np.rint(255 * np.sqrt(np.clip(share, 0, 1))).astype(np.uint8)
    buffer = io.BytesIO()
    iio.imwrite(buffer, grey, extension=".jpg", quality=QUALITY)
    return buffer.getvalue()


def _png(drawn: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    iio.imwrite(buffer, drawn, extension=".png", transparency=0)
    return buffer.getvalue()
