"""Simulated microscopy of seven cell lines with exact truth.

A field is drawn once as a sample (outlines of nuclei and of the cells around them, nucleoli, chromatin) and then seen
by two simulated microscopes: a fluorescence microscope that shows stained DNA, and a brightfield microscope that shows
how thickness bends light. Both see the same nuclei, and the truth is the sample itself, not a person's drawing of it.

Everything depends on the seed alone, so that a simulated data set can be made again instead of being stored.
"""

import math
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import tifffile
from scipy import ndimage
from skimage.util import view_as_blocks

from equinuclei.errors import InputError
from equinuclei.images.masks import to_three_class
from equinuclei.runtime.files import replacing

MODALITIES = ("fluorescence", "brightfield")
MASK_KINDS = ("three_class", "instances")
COLUMNS = ("image_id", "cell_line", "modality", "image", "mask", "group")


SMALLEST_SIDE = 32
SCALES = (0.5, 8.0)
MOST_NUCLEI = 50_000  # instance labels are uint16

_REFERENCE_AREA = 256 * 256  # densities are counts per this many pixels at scale 1
_SMALLEST_AREA = 20  # pixels at scale 1; a smaller piece of a nucleus at the edge of a field is not annotated
_LARGEST_OVERLAP = 0.18  # share of a nucleus that may lie under an earlier one; that part is not painted


@dataclass(frozen=True)
class CellLine:
    """How the cells of one line look. Lengths are pixels at scale 1, brightness is relative to the other lines."""

    radius: float
    """Mean radius of a nucleus (of the circle with the same area), in pixels."""
    radius_sd: float
    """Standard deviation of the radius, in pixels."""
    elongation: float
    """Mean ratio of the long to the short axis of a nucleus."""
    irregularity: float
    """Relative amplitude of the bumps of a nucleus's outline."""
    density: float
    """Nuclei per 256 x 256 pixels."""
    clumping: float
    """Probability that a nucleus lies against an earlier one, 0 to 1."""
    texture: float
    """Relative amplitude of the chromatin's texture."""
    chromocenters: float
    """Mean number of bright heterochromatin spots per nucleus (prominent in mouse cells)."""
    nucleoli: float
    """Mean number of nucleoli per nucleus: dark in fluorescence, a bump in brightfield."""
    brightness: float
    """Relative brightness of the DNA stain."""
    brightness_sd: float
    """Standard deviation of the logarithm of a nucleus's brightness."""
    cell_size: float
    """Radius of the cell in radii of its nucleus."""
    cell_elongation: float
    """Mean ratio of the long to the short axis of the cell."""
    granularity: float
    """Relative strength of granules and vacuoles in the cytoplasm."""


CELL_LINES: Mapping[str, CellLine] = MappingProxyType(
    {
        # mouse fibroblasts: spread thin, bright chromocenters
        "NIH3T3": CellLine(10.5, 1.2, 1.28, 0.035, 17, 0.12, 0.14, 9, 1.5, 1.0, 0.25, 3.0, 2.1, 0.8),
        # dog kidney epithelium: a dense sheet of small round nuclei
        "MDCK": CellLine(8.4, 0.8, 1.14, 0.025, 38, 0.55, 0.12, 0, 1.5, 0.9, 0.22, 2.0, 1.2, 0.6),
        "HeLa": CellLine(12.2, 1.5, 1.25, 0.060, 19, 0.30, 0.17, 0, 2.5, 1.0, 0.35, 2.4, 1.4, 1.0),
        # islands of unequal nuclei
        "MCF7": CellLine(11.0, 1.7, 1.20, 0.050, 25, 0.65, 0.24, 1, 2.0, 1.2, 0.40, 2.1, 1.25, 1.1),
        "A549": CellLine(13.4, 1.4, 1.38, 0.035, 14, 0.15, 0.13, 0, 3.0, 0.9, 0.25, 2.7, 1.7, 1.2),
        # liver: heaped clumps, granular cytoplasm
        "HepG2": CellLine(9.8, 1.1, 1.10, 0.030, 29, 0.85, 0.22, 1, 2.0, 1.1, 0.30, 2.0, 1.15, 1.5),
        # fibrosarcoma: large, long, misshapen, few
        "HT1080": CellLine(14.6, 2.5, 1.55, 0.085, 11, 0.12, 0.19, 0, 2.5, 0.85, 0.42, 2.6, 2.3, 0.9),
    }
)


@dataclass(frozen=True)
class Field:
    """One simulated field: two images of the same nuclei, and the truth. All arrays are (y, x) of one shape."""

    images: dict[str, np.ndarray] = field(repr=False)
    """`fluorescence` and `brightfield`, uint16, camera counts."""
    instances: np.ndarray = field(repr=False)
    """uint16: 0 background, 1 to n the nuclei. Each label is one 4-connected component."""
    three_class: np.ndarray = field(repr=False)
    """uint8: 0 background, 1 border, 2 nucleus."""


def simulate_field(cell_line: str, seed: int | Sequence[int], height: int, width: int, *, scale: float = 1.0) -> Field:
    """Simulate one field of a cell line in both modalities.

    Args:
        cell_line: a name in `CELL_LINES`.
        seed: not negative; equal seeds give equal fields.
        height, width: size of the field in pixels, at least 32.
        scale: magnification, 0.5 to 8. A scale of 2 shows a quarter of the area with nuclei of twice the radius in
            pixels; noise stays that of a pixel.

    Returns:
        A field with at least one nucleus.

    Raises:
        InputError: an argument is not one of these.
    """
    _check_cell_line(cell_line)
    _check_seed(seed)
    _check_size(height, width, scale)
    rng = np.random.default_rng(seed)
    sample = _draw_sample(CELL_LINES[cell_line], rng, height, width, scale)
    instances = sample.inside(sample.labels)
    instances = np.where(instances <= sample.seen, instances, 0).astype(np.uint16)
    images = {
        "fluorescence": sample.inside(_fluorescence(sample, rng)),
        "brightfield": sample.inside(_brightfield(sample, rng)),
    }
    return Field(images=images, instances=instances, three_class=to_three_class(instances, "instances"))


def simulate_dataset(
    folder: str | Path,
    *,
    fields_per_cell_line: int,
    height: int,
    width: int,
    seed: int,
    mask: str = "three_class",
    processes: int = 1,
    scale: float = 1.0,
) -> Path:
    """Write a simulated data set of all cell lines: TIFF images and masks, and their table `images.tsv`.

    Writes `images/<image_id>_<modality>.tif` (uint16), `masks/<image_id>.tif` (uint8 three-class or uint16 instances,
    shared by both modalities) and, when all of them are there, the table. Its columns are `image_id, cell_line,
    modality, image, mask, group`, its paths are relative to the table, and it has a row per field and modality. The
    same arguments give the same bytes, whatever the number of processes.

    With more than one process, the calling script needs the guard `if __name__ == "__main__":`, because each process
    imports that script.

    Args:
        folder: where to write; made if missing.
        fields_per_cell_line: at least 1.
        height, width, scale: as for `simulate_field`.
        seed: not negative. A field depends on the seed, its cell line and its number alone, so a larger data set
            contains the smaller one.
        mask: `three_class` or `instances`.
        processes: how many fields are made at a time.

    Returns:
        The path of the table.

    Raises:
        InputError: an argument is not one of these.
    """
    _check_count("fields_per_cell_line", fields_per_cell_line)
    _check_count("processes", processes)
    if not isinstance(seed, int | np.integer):
        raise InputError(f"seed: {seed!r} is not a whole number. Give one of 0 or more.")
    _check_seed(seed)
    _check_size(height, width, scale)
    if mask not in MASK_KINDS:
        raise InputError(f"mask: {mask!r} is no kind of mask. Choose one of: {', '.join(MASK_KINDS)}.")

    folder = Path(folder)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    tasks = [(line, number) for line in CELL_LINES for number in range(1, fields_per_cell_line + 1)]
    write = partial(_write_field, folder=folder, seed=int(seed), height=height, width=width, mask=mask, scale=scale)
    if processes == 1:
        rows = [write(task) for task in tasks]
    else:
        # "spawn" and not "fork": a caller may hold threads (dask, torch), which a forked copy cannot continue
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context) as pool:
            rows = list(pool.map(write, tasks))
    table = pd.DataFrame([row for pair in rows for row in pair], columns=list(COLUMNS))
    path = folder / "images.tsv"
    with replacing(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    return path


def _write_field(
    task: tuple[str, int], *, folder: Path, seed: int, height: int, width: int, mask: str, scale: float
) -> list[dict[str, str]]:
    """Simulate and write one field; return its rows of the table."""
    cell_line, number = task
    image_id = f"{cell_line}_{number:04d}"
    seeds = [seed, list(CELL_LINES).index(cell_line), number - 1]
    simulated = simulate_field(cell_line, seeds, height, width, scale=scale)
    mask_name = f"masks/{image_id}.tif"
    write_tiff(folder / mask_name, getattr(simulated, mask), compression="zlib")
    rows = []
    for modality in MODALITIES:
        image_name = f"images/{image_id}_{modality}.tif"
        write_tiff(folder / image_name, simulated.images[modality])
        rows.append(dict(zip(COLUMNS, (image_id, cell_line, modality, image_name, mask_name, image_id), strict=True)))
    return rows


def write_tiff(path: Path, array: np.ndarray, compression: str | None = None) -> None:
    """Write a TIFF whose bytes depend on the array alone: no date, no software version."""
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            array,
            photometric="minisblack",
            compression=compression,
            metadata=None,
            datetime=None,
            software=False,
        )


# ---------------------------------------------------------------------------------------------------------------------
# The sample


@dataclass(frozen=True)
class _Outline:
    """A smooth closed curve: an ellipse whose radius is modulated by a short Fourier series of the angle."""

    y: float
    x: float
    long: float
    short: float
    angle: float
    bumps: tuple[complex, ...]
    """Coefficients of the harmonics 2, 3, ..."""

    @property
    def reach(self) -> float:
        """Radius in pixels of a circle around the centre that holds the outline."""
        return self.long * (1 + sum(abs(bump) for bump in self.bumps))

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """The part of an array of this shape that holds the outline."""
        reach = self.reach + 1
        return (
            slice(max(0, math.floor(self.y - reach)), max(0, min(shape[0], math.ceil(self.y + reach) + 1))),
            slice(max(0, math.floor(self.x - reach)), max(0, min(shape[1], math.ceil(self.x + reach) + 1))),
        )

    def depth(self, window: tuple[slice, slice]) -> np.ndarray:
        """How far inside the pixels of a window lie: float32 (y, x), 1 at the centre, 0 on the outline, negative
        outside. Relative to the radius in the pixel's direction."""
        y = (np.arange(window[0].start, window[0].stop) - self.y)[:, None]
        x = (np.arange(window[1].start, window[1].stop) - self.x)[None, :]
        turn = complex(math.cos(self.angle), -math.sin(self.angle))
        turned = ((x + 1j * y) * turn).astype(np.complex64)
        turned.real /= self.long
        turned.imag /= self.short
        radius = np.abs(turned)
        unit = turned / np.maximum(radius, np.float32(1e-6))
        # Horner's rule for the sum over k >= 2 of bump[k] * unit ** k
        series = np.full_like(unit, self.bumps[-1])
        for bump in reversed(self.bumps[:-1]):
            series *= unit
            series += np.complex64(bump)
        series *= unit * unit
        return 1 - radius / np.maximum(1 + series.real, np.float32(0.3))


@dataclass(frozen=True)
class _Sample:
    """What lies under the microscope. Arrays are (y, x) and reach `margin` pixels beyond the field on every side, so
    that what is outside still throws its light, and its rim, into the field."""

    line: CellLine
    scale: float
    margin: int
    labels: np.ndarray
    """uint16: 1 to `seen` are the nuclei in the field, above them those outside."""
    seen: int
    depth: np.ndarray
    """float32: how far inside its nucleus a pixel lies, 0 to 1."""
    body: np.ndarray
    """float32: thickness of the cells, 0 where there is none, about 1 in the middle of a cell."""
    nucleoli: np.ndarray
    """float32: 0 to about 1."""
    chromocenters: np.ndarray
    """float32: 0 to about 1."""
    brightness: np.ndarray
    """float32 per label: amount of stain; index 0 is the background."""
    texture: np.ndarray
    """float32 per label: relative amplitude of the chromatin's texture."""
    blurred: np.ndarray
    """bool per label: out of the plane of focus."""

    def inside(self, array: np.ndarray) -> np.ndarray:
        """The part of an array (y, x) of the sample that lies in the field."""
        return np.ascontiguousarray(array[self.margin : -self.margin, self.margin : -self.margin])


def _draw_sample(line: CellLine, rng: np.random.Generator, height: int, width: int, scale: float) -> _Sample:
    """Draw a sample for a field of height x width pixels."""
    margin = _margin(line, scale)
    shape = (height + 2 * margin, width + 2 * margin)
    labels, depth, outlines, dividing = _place_nuclei(line, rng, shape, margin, scale)
    labels, old = _clean_labels(labels, margin, math.ceil(_SMALLEST_AREA * scale**2))
    outlines = [outlines[index] for index in old]
    dividing = np.concatenate([[False], dividing[old]])
    depth[labels == 0] = 0
    inner = labels[margin:-margin, margin:-margin]
    count = len(outlines) + 1

    brightness = np.exp(rng.normal(0, line.brightness_sd, count)).clip(0.35, 2.6)
    dim = rng.random(count) < 0.14
    brightness[dim] *= rng.uniform(0.22, 0.5, count)[dim]
    brightness[dividing] = rng.uniform(2.0, 3.0, count)[dividing]
    brightness[0] = 0
    blurred = (rng.random(count) < 0.12) & ~dividing
    texture = line.texture * rng.uniform(0.6, 1.4, count)
    # condensed chromosomes have no nucleoli, and no texture that a light microscope resolves
    texture[dividing] = 0.08
    resting = [not divides for divides in dividing[1:]]
    return _Sample(
        line=line,
        scale=scale,
        margin=margin,
        labels=labels,
        seen=int(inner.max(initial=0)),
        depth=depth,
        body=_draw_cells(line, rng, shape, outlines, dividing[1:], scale),
        nucleoli=_spots_in_nuclei(rng, labels, outlines, line.nucleoli * np.array(resting), 0.5, 1.7 * scale),
        chromocenters=_spots_in_nuclei(rng, labels, outlines, line.chromocenters * np.array(resting), 0.75, scale),
        brightness=(line.brightness * brightness).astype(np.float32),
        texture=texture.astype(np.float32),
        blurred=blurred,
    )


def _margin(line: CellLine, scale: float) -> int:
    """How far beyond the field the sample is drawn, in pixels: enough for any nucleus that reaches into the field."""
    return math.ceil(1.6 * line.radius * scale) + 4


def _place_nuclei(
    line: CellLine, rng: np.random.Generator, shape: tuple[int, int], margin: int, scale: float
) -> tuple[np.ndarray, np.ndarray, list[_Outline], np.ndarray]:
    """Place nuclei one after another, each painted only where there is none yet.

    Returns:
        labels uint16 (y, x); depth float32 (y, x); the outline of each label; bool per label: dividing.
    """
    height, width = shape
    labels = np.zeros(shape, dtype=np.uint16)
    depth = np.zeros(shape, dtype=np.float32)
    # fields of one line differ in confluence
    wanted = line.density * rng.uniform(0.65, 1.3) * height * width / (_REFERENCE_AREA * scale**2)
    wanted = max(1, int(rng.poisson(wanted)))
    centres = np.empty((wanted, 3))
    outlines: list[_Outline] = []
    dividing: list[bool] = []
    # a crowded field ends with fewer nuclei instead of searching on and on
    for _ in range(4 * wanted):
        placed = len(outlines)
        if placed == wanted:
            break
        divides = rng.random() < 0.025 and placed > 0
        outline = _draw_nucleus(line, rng, scale, divides)
        radius = math.sqrt(outline.long * outline.short)
        clumps = placed > 0 and rng.random() < line.clumping
        if clumps:
            y, x, other = centres[rng.integers(placed)]
            direction = rng.uniform(0, 2 * math.pi)
            distance = (radius + other) * rng.uniform(0.88, 1.12)
            y, x = y + distance * math.sin(direction), x + distance * math.cos(direction)
            spacing = 0.8
        elif placed == 0:
            # the first one lies well inside, so that no field is empty
            y, x = rng.uniform(margin, height - margin), rng.uniform(margin, width - margin)
            spacing = 0.0
        else:
            y, x = rng.uniform(0, height), rng.uniform(0, width)
            spacing = 1.25
        if not (0 <= y < height and 0 <= x < width):
            continue
        near = np.hypot(centres[:placed, 0] - y, centres[:placed, 1] - x)
        if (near < spacing * (centres[:placed, 2] + radius)).any():
            continue
        outline = replace(outline, y=y, x=x)
        window = outline.window(shape)
        inside_by = outline.depth(window)
        whole = inside_by > 0
        free = whole & (labels[window] == 0)
        if free.sum() < (1 - _LARGEST_OVERLAP) * whole.sum():
            continue
        labels[window][free] = placed + 1
        depth[window][free] = inside_by[free]
        centres[placed] = y, x, radius
        outlines.append(outline)
        dividing.append(divides)
    return labels, depth, outlines, np.array(dividing)


def _draw_nucleus(line: CellLine, rng: np.random.Generator, scale: float, divides: bool) -> _Outline:
    """The outline of one nucleus, not placed yet."""
    radius = scale * max(0.6 * line.radius, rng.normal(line.radius, line.radius_sd))
    stretch = max(1.0, rng.normal(line.elongation, 0.35 * (line.elongation - 1) + 0.04))
    if divides:
        # a metaphase plate seen from the side, more or less
        radius *= 0.72
        stretch = rng.uniform(1.5, 2.4)
    phases = rng.uniform(0, 2 * math.pi, 4)
    sizes = np.abs(rng.normal(0, line.irregularity, 4)) * (1.3, 1.0, 0.4, 0.2)
    return _Outline(
        y=0.0,
        x=0.0,
        long=radius * math.sqrt(stretch),
        short=radius / math.sqrt(stretch),
        angle=rng.uniform(0, math.pi),
        bumps=tuple(complex(bump) for bump in sizes * np.exp(1j * phases)),
    )


def _largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest 4-connected component of a bool array (y, x)."""
    components, count = ndimage.label(mask)
    if count < 2:
        return mask
    return components == 1 + np.bincount(components.ravel())[1:].argmax()


def _clean_labels(labels: np.ndarray, margin: int, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """Number the nuclei of the field first, and drop what the edge of the field leaves of a nucleus as fragments.

    Args:
        labels: uint16 (y, x), with a margin around the field.
        margin: its width in pixels.
        smallest: nuclei with fewer pixels in the field are removed altogether, unless they lie outside completely.

    Returns:
        uint16 (y, x), and for each new label, from 1 on, the old label less 1.
    """
    labels = labels.copy()
    inner = labels[margin:-margin, margin:-margin]
    seen, outside = [], []
    found = ndimage.find_objects(labels)
    for index, window in enumerate(ndimage.find_objects(inner, max_label=len(found))):
        if window is None:
            outside.append(index)
            continue
        mask = inner[window] == index + 1
        kept = _largest_component(mask)
        if kept.sum() >= smallest:
            inner[window][mask & ~kept] = 0
            seen.append(index)
    order = np.array(seen + outside, dtype=np.intp)
    new = np.zeros(len(found) + 1, dtype=np.uint16)
    new[order + 1] = np.arange(1, len(order) + 1)
    return new[labels], order


def _draw_cells(
    line: CellLine,
    rng: np.random.Generator,
    shape: tuple[int, int],
    nuclei: list[_Outline],
    dividing: np.ndarray,
    scale: float,
) -> np.ndarray:
    """Thickness of the cells around the nuclei: float32 (y, x), about 1 in the middle of a spread cell.

    Where cells meet, the thicker one is seen: their thickness has a crease there, which brightfield shows as a line.
    """
    body = np.zeros(shape, dtype=np.float32)
    for nucleus, divides in zip(nuclei, dividing, strict=True):
        radius = math.sqrt(nucleus.long * nucleus.short)
        size = radius * line.cell_size * rng.uniform(0.85, 1.2)
        stretch = max(1.0, rng.normal(line.cell_elongation, 0.25 * line.cell_elongation))
        roughness, height, rim = 0.12, rng.uniform(0.8, 1.2), 2.5 * scale
        if divides:
            # dividing cells let go of the dish and round up
            size, stretch, roughness, height, rim = 15 * scale, 1.05, 0.01, 2.6, 5 * scale
        phases = rng.uniform(0, 2 * math.pi, 5)
        sizes = np.abs(rng.normal(0, roughness, 5)) * (1.3, 1.2, 0.8, 0.35, 0.3)
        cell = _Outline(
            y=nucleus.y + rng.normal(0, 0.2 * radius),
            x=nucleus.x + rng.normal(0, 0.2 * radius),
            long=size * math.sqrt(stretch),
            short=max(size / math.sqrt(stretch), 1.25 * nucleus.short),
            angle=nucleus.angle + rng.normal(0, 0.2),
            bumps=tuple(complex(bump) for bump in sizes * np.exp(1j * phases)),
        )
        window = cell.window(shape)
        inside_by = np.maximum(cell.depth(window), 0)
        # a steep edge, then a gentle rise to the middle
        thickness = height * (0.45 * (1 - np.exp(inside_by * np.float32(-size / rim))) + 0.55 * inside_by)
        np.maximum(body[window], thickness, out=body[window])
    return body


def _spots_in_nuclei(
    rng: np.random.Generator,
    labels: np.ndarray,
    nuclei: list[_Outline],
    means: np.ndarray,
    reach: float,
    size: float,
) -> np.ndarray:
    """Soft spots at random places in nuclei.

    Args:
        labels: uint16 (y, x).
        nuclei: outline of each label.
        means: mean number of spots of each nucleus.
        reach: spots keep within this share of the radius.
        size: standard deviation of a spot in pixels.

    Returns:
        float32 (y, x), 1 in the middle of a spot of mean strength.
    """
    owner = np.repeat(np.arange(len(nuclei)), rng.poisson(means))
    distance = reach * np.sqrt(rng.random(owner.size))
    direction = rng.uniform(0, 2 * np.pi, owner.size)
    geometry = np.array([(n.y, n.x, n.long, n.short, n.angle) for n in nuclei]).reshape(-1, 5)[owner].T
    y0, x0, long, short, angle = geometry
    along, across = distance * long * np.cos(direction), distance * short * np.sin(direction)
    y = y0 + along * np.sin(angle) + across * np.cos(angle)
    x = x0 + along * np.cos(angle) - across * np.sin(angle)
    return _spots(rng, labels.shape, y, x, size)


def _spots(rng: np.random.Generator, shape: tuple[int, int], y: np.ndarray, x: np.ndarray, size: float) -> np.ndarray:
    """Gaussian spots of random strength (mean 1) and of the given standard deviation in pixels: float32 (y, x)."""
    canvas = np.zeros(shape, dtype=np.float32)
    rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
    strength = rng.uniform(0.5, 1.5, rows.size)
    kept = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    np.add.at(canvas, (rows[kept], columns[kept]), strength[kept])
    return ndimage.gaussian_filter(canvas, size, truncate=3) * np.float32(2 * math.pi * size**2)


# ---------------------------------------------------------------------------------------------------------------------
# The microscopes


def _fluorescence(sample: _Sample, rng: np.random.Generator) -> np.ndarray:
    """What a camera sees of the stained DNA: uint16 counts (y, x), with the sample's margin."""
    scale, labels = sample.scale, sample.labels
    shape = labels.shape
    grain = _noise(rng, shape, 1.1 * scale)
    clouds = _noise(rng, shape, 3.0 * scale)
    stain = sample.brightness[labels] * (0.62 + 0.38 * np.sqrt(sample.depth))
    stain *= np.maximum(1 + sample.texture[labels] * (0.8 * grain + 0.8 * clouds), 0.15)
    stain *= 1 - 0.45 * np.minimum(sample.nucleoli, 1)
    stain *= 1 + 0.9 * np.minimum(sample.chromocenters, 1.5)

    focus = scale * rng.uniform(0.8, 1.5)
    blurred = np.where(sample.blurred[labels], stain, 0)
    light = ndimage.gaussian_filter(stain - blurred, focus, truncate=3)
    if blurred.any():
        light += ndimage.gaussian_filter(blurred, 2.6 * scale, truncate=3)
    # light from out of focus: each nucleus sits in its own glow, and cytoplasm holds some stain
    light += rng.uniform(0.25, 0.5) * _wide_blur(stain, 11 * scale)
    light += rng.uniform(0.02, 0.07) * np.minimum(sample.body, 1.2)
    light += rng.uniform(0.0, 0.12) * np.maximum(_noise(rng, shape, 30 * scale) + 0.8, 0)
    light += _bright_debris(sample, rng)
    light += rng.uniform(0.04, 0.16)
    light *= _illumination(rng, shape, 0.5)

    # photoelectrons; an underexposed field is noisier
    electrons = light * np.exp(rng.uniform(math.log(70), math.log(500)))
    detected = rng.poisson(electrons).astype(np.float32)
    detected += 3 * rng.standard_normal(shape, dtype=np.float32)  # read noise
    counts_per_electron = 16
    return np.clip(np.rint(400 + counts_per_electron * detected), 0, 65535).astype(np.uint16)


def _bright_debris(sample: _Sample, rng: np.random.Generator) -> np.ndarray:
    """Stained specks that are no nuclei: float32 (y, x). Single ones, and crumbs of dead cells."""
    height, width = sample.labels.shape
    count = height * width / (_REFERENCE_AREA * sample.scale**2)
    singles = rng.poisson(3.0 * count)
    y, x = rng.uniform(0, height, singles), rng.uniform(0, width, singles)
    for _ in range(rng.poisson(0.5 * count)):
        crumbs = rng.integers(3, 8)
        y = np.append(y, rng.uniform(0, height) + rng.normal(0, 3.5 * sample.scale, crumbs))
        x = np.append(x, rng.uniform(0, width) + rng.normal(0, 3.5 * sample.scale, crumbs))
    small = rng.random(y.size) < 0.6
    debris = 1.1 * _spots(rng, (height, width), y[small], x[small], 0.9 * sample.scale)
    return debris + 1.1 * _spots(rng, (height, width), y[~small], x[~small], 1.7 * sample.scale)


def _brightfield(sample: _Sample, rng: np.random.Generator) -> np.ndarray:
    """What a camera sees of the unstained cells: uint16 counts (y, x), with the sample's margin.

    Cells are clear and only delay the light. Slightly out of focus, the delay becomes intensity in proportion to its
    Laplacian (the transport-of-intensity equation: Teague, J. Opt. Soc. Am. 73, 1434, 1983), and a lamp that is not
    quite centred adds its derivative along one direction. That direction is random, so that no orientation is special.
    """
    line, scale, labels = sample.line, sample.scale, sample.labels
    shape = labels.shape
    cytoplasm = np.clip(2.5 * sample.body, 0, 1) * (1 - 0.85 * np.minimum(6 * sample.depth, 1))
    delay = 2.6 * sample.body
    # a nucleus is a flat disc with a steep edge
    delay += 1.2 * (1 - np.exp(-7 * sample.depth))
    delay += 0.7 * np.minimum(sample.nucleoli, 1.5)
    delay += 0.08 * line.granularity * cytoplasm * _noise(rng, shape, 0.9 * scale)
    delay += 0.28 * line.granularity * cytoplasm * _noise(rng, shape, 2.4 * scale)
    delay += _vacuoles(sample, rng, cytoplasm)

    delay = ndimage.gaussian_filter(delay, scale * rng.uniform(0.8, 1.2), truncate=3)
    slope_y, slope_x = np.gradient(delay)
    direction = rng.uniform(0, 2 * math.pi)
    tilt = scale * rng.uniform(0.0, 0.16)
    defocus = scale**2 * rng.uniform(0.16, 0.30)
    light = 1 - defocus * ndimage.laplace(delay)
    light += tilt * (math.sin(direction) * slope_y + math.cos(direction) * slope_x)
    light -= 0.012 * np.minimum(sample.body, 1)
    light = _add_dirt(light, sample, rng)
    light *= _illumination(rng, shape, 0.06)
    light += 0.004 * _noise(rng, shape, 20 * scale)
    light += rng.uniform(0.008, 0.020) * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(np.rint(light * rng.uniform(26000, 36000)), 0, 65535).astype(np.uint16)


def _vacuoles(sample: _Sample, rng: np.random.Generator, cytoplasm: np.ndarray) -> np.ndarray:
    """Delay of droplets and vacuoles in the cytoplasm: float32 (y, x)."""
    height, width = sample.labels.shape
    tries = rng.poisson(200 * sample.line.granularity * height * width / (_REFERENCE_AREA * sample.scale**2))
    y, x = rng.integers(0, height, tries), rng.integers(0, width, tries)
    # droplets are unevenly spread over the cells: some cells are full of them
    crowded = _noise(rng, (height, width), 14 * sample.scale)[y, x] > 0.3
    kept = crowded & (rng.random(tries) < cytoplasm[y, x])
    return 0.9 * _spots(rng, (height, width), y[kept], x[kept], 1.1 * sample.scale)


def _add_dirt(light: np.ndarray, sample: _Sample, rng: np.random.Generator) -> np.ndarray:
    """Darken a brightfield image (y, x) where dirt lies on the dish, with a bright fringe around it."""
    height, width = light.shape
    count = rng.poisson(1.5 * height * width / (_REFERENCE_AREA * sample.scale**2))
    y, x = rng.uniform(0, height, count), rng.uniform(0, width, count)
    core = _spots(rng, light.shape, y, x, 1.5 * sample.scale)
    halo = ndimage.gaussian_filter(core, 2 * sample.scale, truncate=3)
    return np.maximum(light * (1 - 0.5 * np.minimum(core, 1.4)) + 0.5 * halo, 0.05)


def _illumination(rng: np.random.Generator, shape: tuple[int, int], fall: float) -> np.ndarray:
    """Uneven illumination: float32 (y, x), 1 at its brightest place, less by up to `fall` far from it."""
    height, width = shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(rng.uniform(-0.8, 0.8))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] - np.float32(rng.uniform(-0.8, 0.8))
    return 1 - np.float32(fall * rng.uniform(0.5, 1.0)) * np.minimum((y * y + x * x) / np.float32(3.0), 1)


def _noise(rng: np.random.Generator, shape: tuple[int, int], size: float) -> np.ndarray:
    """Smooth noise of zero mean and unit variance with structures of `size` pixels: float32 (y, x)."""
    step = max(1, int(size / 2.5))
    coarse_shape = tuple(-(-length // step) for length in shape)
    coarse = rng.standard_normal(coarse_shape, dtype=np.float32)
    sigma = size / step
    # variance of white noise after the blur is 1 / (4 pi sigma^2)
    coarse = ndimage.gaussian_filter(coarse, sigma, truncate=3, mode="wrap") * np.float32(
        2 * math.sqrt(math.pi) * sigma
    )
    return _enlarge(coarse, step, shape)


def _wide_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with a standard deviation of many pixels, done on a coarse grid: float32 (y, x)."""
    step = max(1, int(sigma / 2.5))
    padded = np.pad(image, [(0, -length % step) for length in image.shape], mode="edge")
    coarse = view_as_blocks(padded, (step, step)).mean(axis=(2, 3), dtype=np.float32)
    return _enlarge(ndimage.gaussian_filter(coarse, sigma / step, truncate=3), step, image.shape)


def _enlarge(coarse: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Enlarge an array (y, x) `step` times by linear interpolation and cut it to `shape`."""
    if step > 1:
        coarse = ndimage.zoom(coarse, step, order=1, mode="nearest", grid_mode=True)
    return coarse[: shape[0], : shape[1]]


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


def _check_cell_line(cell_line: str) -> None:
    if cell_line not in CELL_LINES:
        raise InputError(f"cell line {cell_line!r} is unknown. Choose one of: {', '.join(CELL_LINES)}.")


def _check_seed(seed: int | Sequence[int]) -> None:
    numbers = [seed] if isinstance(seed, int | np.integer) else seed
    if isinstance(numbers, str) or not all(isinstance(n, int | np.integer) and n >= 0 for n in numbers):
        raise InputError(f"seed: {seed!r} is not a whole number. Give one of 0 or more.")


def _check_count(name: str, count: int) -> None:
    if not isinstance(count, int | np.integer) or count < 1:
        raise InputError(f"{name}: {count!r} is not a count. Give a whole number of 1 or more.")


def _check_size(height: int, width: int, scale: float) -> None:
    for name, length in (("height", height), ("width", width)):
        if not isinstance(length, int | np.integer) or length < SMALLEST_SIDE:
            raise InputError(
                f"{name}: {length!r} is no size of a field. Give a whole number of pixels, {SMALLEST_SIDE} or more."
            )
    if not SCALES[0] <= scale <= SCALES[1]:
        raise InputError(f"scale: {scale!r} is out of range. Give a number from {SCALES[0]:g} to {SCALES[1]:g}.")
    for line in CELL_LINES.values():
        margin = _margin(line, scale)
        area = (height + 2 * margin) * (width + 2 * margin)
        if 1.5 * line.density * area / (_REFERENCE_AREA * scale**2) < MOST_NUCLEI:
            continue
        raise InputError(
            f"height, width: a field of {height} x {width} pixels at scale {scale:g} could hold more than "
            f"{MOST_NUCLEI} nuclei. Give a smaller field or a larger scale."
        )
