"""What lies under the simulated microscopes: nuclei, the cells around them, nucleoli and chromatin."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from equinuclei.simulation.cell_lines import CellLine
from equinuclei.simulation.textures import spots

REFERENCE_AREA = 256 * 256  # densities are counts per this many pixels at scale 1
_SMALLEST_AREA = 20  # pixels at scale 1; a smaller piece of a nucleus at the edge of a field is not annotated
_LARGEST_OVERLAP = 0.18  # share of a nucleus that may lie under an earlier one; that part is not painted


@dataclass(frozen=True)
class Outline:
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
        """Radius in pixels of a circle around the centre that contains the outline."""
        return self.long * (1 + sum(abs(bump) for bump in self.bumps))

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """The window of an array of this shape that contains the outline."""
        reach = self.reach + 1
        return (
            slice(max(0, math.floor(self.y - reach)), max(0, min(shape[0], math.ceil(self.y + reach) + 1))),
            slice(max(0, math.floor(self.x - reach)), max(0, min(shape[1], math.ceil(self.x + reach) + 1))),
        )

    def depth(self, window: tuple[slice, slice]) -> np.ndarray:
        """Depth of a window's pixels inside the outline: float32 (y, x), 1 at the centre, 0 on the outline, negative
        outside, relative to the radius in the pixel's direction."""
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
class Sample:
    """What lies under the microscope. Arrays are (y, x) and extend `margin` pixels beyond the field on every side, so
    that cells outside still cast their light, and their rim, into the field."""

    line: CellLine
    scale: float
    margin: int
    labels: np.ndarray
    """uint16: 1 to `seen` are the nuclei in the field, larger numbers those outside."""
    seen: int
    depth: np.ndarray
    """float32: how deep inside its nucleus a pixel lies, 0 to 1."""
    body: np.ndarray
    """float32: thickness of the cells, 0 between them, about 1 in the middle of a cell."""
    nucleoli: np.ndarray
    """float32: 0 to about 1."""
    chromocenters: np.ndarray
    """float32: 0 to about 1."""
    brightness: np.ndarray
    """float32 per label: amount of stain; index 0 is the background."""
    texture: np.ndarray
    """float32 per label: relative amplitude of the chromatin's texture."""
    blurred: np.ndarray
    """bool per label: out of focus."""

    def inside(self, array: np.ndarray) -> np.ndarray:
        """The part of an array (y, x) of the sample that lies in the field."""
        return np.ascontiguousarray(array[self.margin : -self.margin, self.margin : -self.margin])


def draw_sample(line: CellLine, rng: np.random.Generator, height: int, width: int, scale: float) -> Sample:
    """Draw a sample for a field of height x width pixels."""
    margin = margin_of(line, scale)
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
    return Sample(
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


def margin_of(line: CellLine, scale: float) -> int:
    """How many pixels the sample extends beyond the field: enough for any nucleus that reaches into the field."""
    return math.ceil(1.6 * line.radius * scale) + 4


def _place_nuclei(
    line: CellLine, rng: np.random.Generator, shape: tuple[int, int], margin: int, scale: float
) -> tuple[np.ndarray, np.ndarray, list[Outline], np.ndarray]:
    """Place nuclei one after another, and paint each only where there is none yet.

    Returns labels, uint16 (y, x); depth, float32 (y, x); the outline of each label; and bool per label, whether the
    nucleus is dividing.
    """
    height, width = shape
    labels = np.zeros(shape, dtype=np.uint16)
    depth = np.zeros(shape, dtype=np.float32)
    # fields of one line differ in confluence
    wanted = line.density * rng.uniform(0.65, 1.3) * height * width / (REFERENCE_AREA * scale**2)
    wanted = max(1, int(rng.poisson(wanted)))
    centres = np.empty((wanted, 3))
    outlines: list[Outline] = []
    dividing: list[bool] = []
    # a crowded field ends up with fewer nuclei, instead of an endless search
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
            # the first nucleus lies well inside, so that no field is empty
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


def _draw_nucleus(line: CellLine, rng: np.random.Generator, scale: float, divides: bool) -> Outline:
    """The outline of one nucleus, not placed yet."""
    radius = scale * max(0.6 * line.radius, rng.normal(line.radius, line.radius_sd))
    stretch = max(1.0, rng.normal(line.elongation, 0.35 * (line.elongation - 1) + 0.04))
    if divides:
        # a metaphase plate, seen roughly from the side
        radius *= 0.72
        stretch = rng.uniform(1.5, 2.4)
    phases = rng.uniform(0, 2 * math.pi, 4)
    sizes = np.abs(rng.normal(0, line.irregularity, 4)) * (1.3, 1.0, 0.4, 0.2)
    return Outline(
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
    """Renumber the nuclei, those in the field first, and remove fragments of nuclei that the edge of the field cuts.

    labels : uint16 (y, x), with a margin of `margin` pixels around the field.
    smallest : nuclei with fewer pixels in the field are removed altogether, unless they lie completely outside.

    Returns the new labels, uint16 (y, x), and for each of them, from 1 on, the old label minus 1.
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
    nuclei: list[Outline],
    dividing: np.ndarray,
    scale: float,
) -> np.ndarray:
    """Thickness of the cells around the nuclei: float32 (y, x), about 1 in the middle of a spread cell.

    Where cells meet, the thicker one counts: the thickness has a crease there, which brightfield shows as a line.
    """
    body = np.zeros(shape, dtype=np.float32)
    for nucleus, divides in zip(nuclei, dividing, strict=True):
        radius = math.sqrt(nucleus.long * nucleus.short)
        size = radius * line.cell_size * rng.uniform(0.85, 1.2)
        stretch = max(1.0, rng.normal(line.cell_elongation, 0.25 * line.cell_elongation))
        roughness, height, rim = 0.12, rng.uniform(0.8, 1.2), 2.5 * scale
        if divides:
            # dividing cells detach from the dish and round up
            size, stretch, roughness, height, rim = 15 * scale, 1.05, 0.01, 2.6, 5 * scale
        phases = rng.uniform(0, 2 * math.pi, 5)
        sizes = np.abs(rng.normal(0, roughness, 5)) * (1.3, 1.2, 0.8, 0.35, 0.3)
        cell = Outline(
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
    nuclei: list[Outline],
    means: np.ndarray,
    reach: float,
    size: float,
) -> np.ndarray:
    """Soft spots at random places in nuclei: float32 (y, x), 1 in the middle of a spot of mean strength.

    labels : uint16 (y, x).
    nuclei : the outline of each label.
    means : mean number of spots in each nucleus.
    reach : spots stay within this fraction of the radius.
    size : standard deviation of a spot in pixels.
    """
    owner = np.repeat(np.arange(len(nuclei)), rng.poisson(means))
    distance = reach * np.sqrt(rng.random(owner.size))
    direction = rng.uniform(0, 2 * np.pi, owner.size)
    geometry = np.array([(n.y, n.x, n.long, n.short, n.angle) for n in nuclei]).reshape(-1, 5)[owner].T
    y0, x0, long, short, angle = geometry
    along, across = distance * long * np.cos(direction), distance * short * np.sin(direction)
    y = y0 + along * np.sin(angle) + across * np.cos(angle)
    x = x0 + along * np.cos(angle) - across * np.sin(angle)
    return spots(rng, labels.shape, y, x, size)
