"""Maps of a mosaic of any size, predicted tile by tile and equal to those of the whole mosaic.

Each tile is predicted within a larger window. A pixel influences the maps only within the network's `reach`, so a halo
of at least this width around the tile hides the end of the window. Windows begin on multiples of the network's
`input_multiple`, counted from the corner of the padded mosaic, so the pooling cells are those of the whole mosaic. The
tiled maps therefore differ from those of the whole only by rounding, as the order of sums in a convolution may depend
on the size of its input. What halos cost is kept low: tiles are as large as memory allows, and where the mosaic ends
there is none.
"""

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch

from equinuclei.images.intensity import ROWS, apply_statistics, normalization_statistics
from equinuclei.images.interpolation import Interpolation, Read
from equinuclei.images.rescaling import magnified_shape
from equinuclei.inference.whole_images import image_placements, mean_over_placements
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of

logger = logging.getLogger("equinuclei.inference.tiling")

WINDOW_MEMORY = 5.5 * 2**30
"""Bytes that the network's features for a window may take, at most, where no size of tiles is given. Half of this is
usual. The same on all machines, so that the results are."""

LEAST_TILE = 512
"""Height and width of the smallest tiles, where no size of tiles is given."""

SMALL_MOSAIC = 2**21
"""Mosaics of at most so many pixels are predicted whole, where no size of tiles is given, whatever the network."""

PROGRESS_SECONDS = 5
"""Least time between two messages on the progress of a mosaic."""


@dataclass(frozen=True)
class _Span:
    """A tile along one axis: it covers the pixels start to stop of the mosaic, and its window starts at the pixel
    `window` of the padded mosaic. All windows have the same length."""

    start: int
    stop: int
    window: int


@dataclass(frozen=True)
class _Layout:
    """How a mosaic is divided into tiles, for every placement of its pad.

    shape : (y, x) of the mosaic. window : (height, width) of a tile's window. placements : `image_placements` of the
    mosaic. tiles : (rows, columns) of every tile.
    """

    shape: tuple[int, int]
    window: tuple[int, int]
    placements: tuple[list[tuple[int, int]], list[tuple[int, int]]]
    tiles: list[tuple[_Span, _Span]]

    @classmethod
    def of(
        cls, network: SegmentationNetwork, shape: tuple[int, int], tile: int | None, whole_pixels: int | None
    ) -> "_Layout":
        """For the arguments see `predict_mosaic`."""
        multiple, halo = network.input_multiple, halo_width(network)
        placements = image_placements(*shape, multiple)
        padded = [_round_up(size, multiple) for size in shape]
        if tile is None and math.prod(padded) <= SMALL_MOSAIC:
            counts = (1, 1)
        elif tile is None:
            counts = _cheapest_counts(padded, multiple, halo, WINDOW_MEMORY / feature_bytes(network))
        else:
            tile = _round_up(tile, multiple)
            whole = math.prod(padded) <= ((tile + 2 * halo) ** 2 if whole_pixels is None else whole_pixels)
            counts = (1, 1) if whole else (-(-padded[0] // tile), -(-padded[1] // tile))
        (rows, height), (columns, width) = (
            _spans(size, count, multiple, halo) for size, count in zip(shape, counts, strict=True)
        )
        return cls(shape, (height, width), placements, list(product(rows, columns)))

    def windows(self, read: Read, batch: list[tuple[_Span, _Span]]) -> dict[tuple[int, int], np.ndarray]:
        """The pixels of a batch of windows, (n, y, x), by the numbers of the (vertical, horizontal) placement."""
        height, width = self.window
        vertical, horizontal = self.placements
        return {
            (v, h): np.stack(
                [
                    _window(read, self.shape, (row.window - top, height), (column.window - left, width))
                    for row, column in batch
                ]
            )
            for (v, (top, _)), (h, (left, _)) in product(enumerate(vertical), enumerate(horizontal))
        }

    def inside(self, maps: np.ndarray, placement: tuple[int, int], tile: tuple[_Span, _Span]) -> np.ndarray:
        """The part of a window's maps (K, y, x) that lies in the tile."""
        parts = [
            slice(span.start + pads[number][0] - span.window, span.stop + pads[number][0] - span.window)
            for span, pads, number in zip(tile, self.placements, placement, strict=True)
        ]
        return maps[:, parts[0], parts[1]]


@torch.inference_mode()
def predict_mosaic(
    network: SegmentationNetwork,
    image: Any,
    *,
    valid: Any = None,
    tile: int | None = None,
    whole_pixels: int | None = None,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
    magnification: float = 1.0,
    statistics: tuple[float, float] | None = None,
) -> np.ndarray:
    """Maps of a whole well, or of any other image: float32 (K, y, x), logits and distances.

    They equal `whole_images.predict_maps` of the normalised image up to rounding (5e-5 in float32), for all sizes and
    tiles; the border of the mosaic is padded as there. With the same tiles and batches, runs are bit-identical. An
    image that is predicted in one tile gives exactly the bits of `predict_maps`.

    Memory: the result, and the network's features for `batch_size` windows.

    network : as folded by `folding.fold`, on the device.
    image : (y, x), stored dtype; a numpy array, or anything that slices like one (zarr, dask). It is read twice, for
        its statistics and for its pixels.
    valid : bool (y, x), likewise: where there is an image; None for everywhere. Other pixels do not count in the
        statistics, are 0 to the network (the mean, or the darkest), and background in the maps
        (`targets.Target.no_image`).
    tile : height and width of a tile without its halo, in pixels, rounded up to the network's input multiple; a window
        is at most a tile with a halo around it. None: tiles for which the network needs WINDOW_MEMORY at most, and
        computes as little as it can beyond the mosaic.
    whole_pixels : where a tile is given, mosaics of at most so many pixels are predicted in one. None: the pixels of a
        tile's window.
    batch_size : number of tiles that are predicted together.
    magnification : the network sees the image magnified by this factor, and its maps are scaled back
        (`interpolation`). Tiles are those of the magnified image, whose maps are held in memory.
    statistics : of the image (`intensity.normalization_statistics`), if they are known already.

    Raises InputError if the image is smaller than the padding it needs, ValueError if it is not (y, x), for a tile or
    batch below 1 or a `valid` of another shape, and TypeError if pixels are not numbers.
    """
    if len(image.shape) != 2:
        raise ValueError(f"expected an image (y, x), not one of shape {tuple(image.shape)}")
    read = normalized(image, valid, statistics or normalization_statistics(image, valid, network.normalization))
    shape = (int(image.shape[0]), int(image.shape[1]))
    seen = magnified_shape(shape, magnification)
    source = read if seen == shape else partial(Interpolation(shape, seen).window, read)
    target = target_of(network.target)
    maps = np.empty((len(target.no_image), *seen), np.float32)
    for rows, columns, values in predict_tiles(
        network, source, seen, tile=tile, whole_pixels=whole_pixels, batch_size=batch_size, device=device
    ):
        maps[:, rows, columns] = values
    if seen != shape:
        maps = _resized(maps, shape)
    if valid is not None:
        for rows in _bands(shape[0]):
            maps[:, rows][:, ~np.asarray(valid[rows], dtype=bool)] = np.array(target.no_image, np.float32)[:, None]
    return maps


def normalized(image: Any, valid: Any, statistics: tuple[float, float]) -> Read:
    """A function that reads normalised pixels of an image, float32 (y, x), 0 where they are not valid."""
    offset, scale = statistics

    def read(rows: slice, columns: slice) -> np.ndarray:
        pixels = apply_statistics(np.asarray(image[rows, columns]), offset, scale)
        if valid is not None:
            # Assigned, not multiplied: pixels in a gap may be NaN.
            pixels[~np.asarray(valid[rows, columns], dtype=bool)] = 0
        return pixels

    return read


def _resized(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Maps (K, y, x), float32, interpolated to another shape (y, x)."""
    interpolation = Interpolation((maps.shape[1], maps.shape[2]), shape)
    resized = np.empty((len(maps), *shape), np.float32)
    for source, target in zip(maps, resized, strict=True):
        for rows in _bands(shape[0]):
            target[rows] = interpolation.window(partial(_part, source), rows, slice(None))
    return resized


def _part(pixels: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    return pixels[rows, columns]


def _bands(height: int) -> Iterator[slice]:
    """Slices of ROWS rows."""
    return (slice(start, start + ROWS) for start in range(0, height, ROWS))


@torch.inference_mode()
def predict_tiles(
    network: SegmentationNetwork,
    read: Read,
    shape: tuple[int, int],
    *,
    tile: int | None = None,
    whole_pixels: int | None = None,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield the maps of a mosaic of shape (y, x), tile by tile: (rows, columns, float32 (K, y, x) of the tile).

    read : returns normalised pixels of the mosaic, float32 (y, x). It is called in another thread, one batch ahead.

    For the other arguments and the errors see `predict_mosaic`.
    """
    if (tile is not None and tile < 1) or batch_size < 1:
        raise ValueError(f"tile and batch_size must be at least 1, not {tile} and {batch_size}")
    layout = _Layout.of(network, shape, tile, whole_pixels)
    batches = [layout.tiles[start : start + batch_size] for start in range(0, len(layout.tiles), batch_size)]
    begun = told = time.monotonic()
    # The next batch is read and decompressed while the network works on this one.
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(layout.windows, read, batches[0])
        for number, batch in enumerate(batches):
            inputs = ahead.result()
            if number + 1 < len(batches):
                ahead = reader.submit(layout.windows, read, batches[number + 1])
            placed = {}
            for placement, pixels in inputs.items():
                output = network(torch.from_numpy(pixels)[:, None].to(device)).float().cpu().numpy()
                placed[placement] = [
                    layout.inside(maps, placement, spans) for maps, spans in zip(output, batch, strict=True)
                ]
            for index, (row, column) in enumerate(batch):
                values = mean_over_placements({placement: tiles[index] for placement, tiles in placed.items()})
                yield slice(row.start, row.stop), slice(column.start, column.stop), values
            now, left = time.monotonic(), len(batches) - number - 1
            if left and now - told >= PROGRESS_SECONDS:
                told, seconds = now, (now - begun) / (number + 1) * left
                logger.info("%d of %d tiles, %.0f s left", (number + 1) * batch_size, len(layout.tiles), seconds)


def halo_width(network: SegmentationNetwork) -> int:
    """How many pixels a window must extend beyond its tile; a multiple of the network's input multiple.

    The reach already covers a whole pooling cell, wherever in it a pixel lies. The largest pad is added because padding
    shifts the tile relative to the grid of windows.
    """
    multiple = network.input_multiple
    return _round_up(network.reach + multiple // 2, multiple)


def feature_bytes(network: SegmentationNetwork) -> int:
    """Memory that a network's features need at most, in bytes per pixel of its input.

    Twice what its largest layer takes and gives: a U-Net holds features of its finest level until it comes back there.
    """
    largest = 0

    def measure(_: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        tensors = [value for value in (*inputs, output) if torch.is_tensor(value)]
        largest = max(largest, sum(tensor.nbytes for tensor in tensors))

    layers = [module for module in network.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(measure) for layer in layers]
    try:
        parameter = next(network.parameters(), None)
        side = 2 * network.input_multiple
        network(torch.zeros(1, 1, side, side, device="cpu" if parameter is None else parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, 2 * largest // side**2)


def flipped_pixels(a: np.ndarray, b: np.ndarray) -> int:
    """How many pixels are nucleus (logit above 0) by one of two logit maps and background by the other."""
    return int(np.count_nonzero((np.asarray(a) > 0) != (np.asarray(b) > 0)))


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _window_length(padded: int, count: int, multiple: int, halo: int) -> int:
    """Length of the windows of `count` tiles along an axis: as short as they can be and cover it with their halos."""
    return min(padded, _round_up(-(-(padded + 2 * halo * (count - 1)) // count), multiple))


def _cheapest_counts(padded: list[int], multiple: int, halo: int, most_pixels: float) -> tuple[int, int]:
    """How many tiles along both axes compute the fewest pixels, with windows of at most `most_pixels`.

    Among equals the fewest tiles, and then the squarest windows. Where even the smallest windows are too large, those
    are taken.
    """
    possible = [range(1, max(1, size // LEAST_TILE) + 1) for size in padded]

    def cost(counts: tuple[int, ...]) -> tuple[float, ...]:
        lengths = [_window_length(size, count, multiple, halo) for size, count in zip(padded, counts, strict=True)]
        pixels = math.prod(lengths)
        return max(pixels, most_pixels), math.prod(counts) * pixels, math.prod(counts), max(lengths), counts[0]

    vertical, horizontal = min(product(*possible), key=cost)
    return vertical, horizontal


def _spans(size: int, count: int, multiple: int, halo: int) -> tuple[list[_Span], int]:
    """At most `count` tiles along an axis of `size` pixels, and the length of their windows.

    All windows have the same length, so that tiles can share a batch. The first and the last begin and end with the
    padded mosaic, where no halo is needed, so their tiles are larger.
    """
    padded = _round_up(size, multiple)
    length = _window_length(padded, count, multiple, halo)
    windows = [0]
    while windows[-1] + length < padded:
        windows.append(min(windows[-1] + length - 2 * halo, padded - length))
    edges = [0, *(window + halo for window in windows[1:]), size]
    pairs = zip(edges, edges[1:], windows, strict=False)
    return [_Span(start, stop, window) for start, stop, window in pairs], length


def _window(read: Read, shape: tuple[int, int], *spans: tuple[int, int]) -> np.ndarray:
    """Pixels of a window given per axis as (start, length) in the frame of the mosaic, reflected beyond its border."""
    indices = [_reflected(start, length, size) for (start, length), size in zip(spans, shape, strict=True)]
    rows, columns = (slice(int(index.min()), int(index.max()) + 1) for index in indices)
    pixels = read(rows, columns)
    inside = [(start >= 0 and start + length <= size) for (start, length), size in zip(spans, shape, strict=True)]
    if all(inside):
        return pixels
    return pixels[np.ix_(indices[0] - rows.start, indices[1] - columns.start)]


def _reflected(start: int, length: int, size: int) -> np.ndarray:
    """The indices start, start + 1, ...; those outside 0 to size - 1 are reflected at the first or last pixel."""
    index = np.abs(np.arange(start, start + length))
    return np.where(index < size, index, 2 * (size - 1) - index)
