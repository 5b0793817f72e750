"""Maps of a mosaic of any size, tile by tile, equal to those of the whole.

A tile is predicted with a halo around it. What a pixel can influence ends at the network's `reach`, so with a halo that
is at least as wide the tile itself does not see where its window ends; and with windows that begin on multiples of the
network's `input_multiple`, counted from the padded mosaic's corner, its pooling cells are those of the whole. Both
together make the tiled maps those of the whole mosaic; what is left is rounding, as a convolution may order its sums
by the size of what it is given.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch

from equinuclei.images.intensity import ROWS, apply_statistics, normalization_statistics
from equinuclei.images.interpolation import Interpolation
from equinuclei.images.rescaling import magnified_shape
from equinuclei.inference.whole_images import image_placements, mean_over_placements
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of

TILE = 1024
"""Height and width of a tile without its halo, in pixels."""


@dataclass(frozen=True)
class _Span:
    """A tile along one axis: its pixels start to stop, in the frame of the mosaic; its window's start in that of the
    padded mosaic. All windows have one length."""

    start: int
    stop: int
    window: int


@torch.inference_mode()
def predict_mosaic(
    network: SegmentationNetwork,
    image: Any,
    *,
    valid: Any = None,
    tile: int = TILE,
    whole_pixels: int | None = None,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
    magnification: float = 1.0,
) -> np.ndarray:
    """Maps of a whole well, or of any other image: what the network makes of it, logits and distances.

    They equal `inference.predict_maps` of the normalised image to rounding (5e-5 in float32), whatever the tiles,
    for any size: the mosaic's border is padded as there. Bit-identical from run to run with the same tiles and
    batches. An image that is predicted in one tile gives the very bits of `predict_maps`.

    Memory: the result, and the network's features of `batch_size` tiles with their halos.

    network : as folded by `folding.fold`, on the device.
    image : (y, x), stored dtype; a numpy array, or what slices like one (zarr, dask). Read twice: for its statistics
        and for its pixels.
    valid : bool (y, x), a numpy array or what slices like one: where there is an image; None for everywhere. Pixels
        outside count in no statistic, are 0 to the network (the mean, or the darkest), and are background in the maps
        (`targets.Target.no_image`).
    tile : height and width of a tile without its halo, in pixels; rounded up to the network's input multiple. At most:
        tiles share the mosaic evenly.
    whole_pixels : mosaics of up to so many pixels are predicted in one tile. None: those that need no more memory than
        a tile and its halo would.
    batch_size : tiles that are predicted together.
    magnification : the network sees the image magnified by it (`interpolation`), and its maps are brought back to the
        size of the image. Tiles are those of the magnified image, whose maps are held in memory.

    Returns float32 (K, y, x).

    Raises InputError for an image smaller than the pad that it needs, ValueError for an image that is not (y, x),
    a tile or batch below 1, or `valid` of another shape, TypeError for pixels that are no numbers.
    """
    if len(image.shape) != 2:
        raise ValueError(f"expected an image (y, x), not one of shape {tuple(image.shape)}")
    offset, scale = normalization_statistics(image, valid, network.normalization)

    def read(rows: slice, columns: slice) -> np.ndarray:
        pixels = apply_statistics(np.asarray(image[rows, columns]), offset, scale)
        if valid is not None:
            # Not a product: what lies in a gap may be NaN.
            pixels[~np.asarray(valid[rows, columns], dtype=bool)] = 0
        return pixels

    shape = (int(image.shape[0]), int(image.shape[1]))
    seen = magnified_shape(shape, magnification)
    source = read if seen == shape else partial(Interpolation(shape, seen).window, read)
    target = target_of(network.target)
    maps = np.empty((len(target.no_image), *seen), np.float32)
    arguments = {"tile": tile, "whole_pixels": whole_pixels, "batch_size": batch_size, "device": device}
    for rows, columns, values in predict_tiles(network, source, seen, **arguments):
        maps[:, rows, columns] = values
    if seen != shape:
        maps = _shown_as(maps, shape)
    if valid is not None:
        for start in range(0, shape[0], ROWS):
            rows = slice(start, start + ROWS)
            maps[:, rows][:, ~np.asarray(valid[rows], dtype=bool)] = np.array(target.no_image, np.float32)[:, None]
    return maps


def _shown_as(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Maps (K, y, x) float32 in another shape (y, x)."""
    back = Interpolation(maps.shape[-2:], shape)
    shown = np.empty((len(maps), *shape), np.float32)
    for one, of_shown in zip(maps, shown, strict=True):
        for start in range(0, shape[0], ROWS):
            rows = slice(start, start + ROWS)
            of_shown[rows] = back.window(lambda y, x, one=one: one[y, x], rows, slice(None))
    return shown


@torch.inference_mode()
def predict_tiles(
    network: SegmentationNetwork,
    read: Callable[[slice, slice], np.ndarray],
    shape: tuple[int, int],
    *,
    tile: int = TILE,
    whole_pixels: int | None = None,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield the maps of a mosaic of shape (y, x), tile by tile: (rows, columns, float32 (K, y, x) of the tile).

    read : a function of (rows, columns), slices within the mosaic, that gives its normalised pixels, float32 (y, x).
        It is called in another thread, a batch ahead.

    The other arguments, and the errors, are those of `predict_mosaic`.
    """
    if tile < 1 or batch_size < 1:
        raise ValueError(f"tile and batch_size are at least 1, not {tile} and {batch_size}")
    multiple = network.input_multiple
    placements = image_placements(*shape, multiple)
    halo = halo_width(network)
    padded = tuple(-(-size // multiple) * multiple for size in shape)
    if whole_pixels is None:
        whole_pixels = (_round_up(tile, multiple) + 2 * halo) ** 2
    if math.prod(padded) <= whole_pixels:
        tile = max(padded)
    (rows, height), (columns, width) = (_spans(size, tile, multiple, halo) for size in shape)
    tiles = list(product(rows, columns))
    batches = [tiles[start : start + batch_size] for start in range(0, len(tiles), batch_size)]

    def windows(batch: list[tuple[_Span, _Span]]) -> dict[tuple[int, int], np.ndarray]:
        return {
            (v, h): np.stack(
                [
                    _window(read, shape, (row.window - top, height), (column.window - left, width))
                    for row, column in batch
                ]
            )
            for (v, (top, _)), (h, (left, _)) in product(enumerate(placements[0]), enumerate(placements[1]))
        }

    # The next batch is read and decompressed while the network works on this one.
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(windows, batches[0])
        for number, batch in enumerate(batches):
            inputs = ahead.result()
            if number + 1 < len(batches):
                ahead = reader.submit(windows, batches[number + 1])
            placed = {}
            for (v, h), pixels in inputs.items():
                top, left = placements[0][v][0], placements[1][h][0]
                output = network(torch.from_numpy(pixels)[:, None].to(device)).float().cpu().numpy()
                placed[v, h] = [
                    maps[
                        :,
                        row.start + top - row.window : row.stop + top - row.window,
                        column.start + left - column.window : column.stop + left - column.window,
                    ]
                    for maps, (row, column) in zip(output, batch, strict=True)
                ]
            for place, (row, column) in enumerate(batch):
                values = mean_over_placements({key: parts[place] for key, parts in placed.items()})
                yield slice(row.start, row.stop), slice(column.start, column.stop), values


def halo_width(network: SegmentationNetwork) -> int:
    """Pixels around a tile that its window must hold, a multiple of the network's input multiple.

    The reach already counts the whole of a pooling cell, wherever in it a pixel lies. The largest pad is added, as
    it moves the tile against the grid of windows.
    """
    multiple = network.input_multiple
    return _round_up(network.reach + multiple // 2, multiple)


def flipped_pixels(a: np.ndarray, b: np.ndarray) -> int:
    """How many pixels are nucleus (logit above 0) by one of two logit maps and background by the other."""
    return int(np.count_nonzero((np.asarray(a) > 0) != (np.asarray(b) > 0)))


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _spans(size: int, tile: int, multiple: int, halo: int) -> tuple[list[_Span], int]:
    """The tiles along an axis of `size` pixels, and the length of their windows.

    Windows that would leave the padded mosaic are moved inwards: all are of one length, so that tiles share a batch.
    """
    padded = _round_up(size, multiple)
    count = -(-padded // _round_up(tile, multiple))
    step = _round_up(-(-padded // count), multiple)
    length = min(padded, step + 2 * halo) if count > 1 else padded
    return [
        _Span(start, min(start + step, size), min(max(start - halo, 0), padded - length))
        for start in range(0, size, step)
    ], length


def _window(read: Callable[[slice, slice], np.ndarray], shape: tuple[int, int], *spans: tuple[int, int]) -> np.ndarray:
    """Pixels of a window given per axis as (start, length) in the frame of the mosaic, reflected beyond its border."""
    indices = [_reflected(start, length, size) for (start, length), size in zip(spans, shape, strict=True)]
    rows, columns = (slice(int(index.min()), int(index.max()) + 1) for index in indices)
    pixels = read(rows, columns)
    inside = [(start >= 0 and start + length <= size) for (start, length), size in zip(spans, shape, strict=True)]
    if all(inside):
        return pixels
    return pixels[np.ix_(indices[0] - rows.start, indices[1] - columns.start)]


def _reflected(start: int, length: int, size: int) -> np.ndarray:
    """Indices of start, start + 1, ... where those outside 0 to size - 1 are mirrored at the first or last pixel."""
    index = np.abs(np.arange(start, start + length))
    return np.where(index < size, index, 2 * (size - 1) - index)
