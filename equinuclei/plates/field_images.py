"""The image of one field in one channel, read from a plate's files; what is wrong with it where it cannot be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from equinuclei.errors import InputError
from equinuclei.sources.plates import read_plane
from equinuclei.sources.plates.planes import NO_FILE, image_header

STATUSES = ("ok", "missing", "truncated", "unreadable", "wrong size")


@dataclass(frozen=True)
class FieldReading:
    """What was read of a field in one channel.

    status, message : one of `STATUSES`, and what is wrong, "" if nothing is
    pixels : (y, x); None unless the status is ok
    pages : pages in each file that was opened, by its path
    """

    status: str
    message: str
    pixels: np.ndarray | None
    pages: dict[str, int]


class _BadPlaneError(Exception):
    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def read_field(
    planes: pd.DataFrame | None, shape: tuple[int, int], dtype: np.dtype, projection: str = "max"
) -> FieldReading:
    """Read a field of one channel.

    Parameters
    ----------
    planes
        Rows with path and page: one, or several to project. None or no row: the field is missing.
    shape
        Height and width expected, pixels.
    dtype
        Pixel type of the result; a plane whose type does not fit into it is unreadable.
    projection
        "max" or "mean" (rounded to the nearest integer, halves to even).
    """
    pages: dict[str, int] = {}
    if planes is None or planes.empty:
        return FieldReading("missing", "the plate has no image of this field and channel", None, pages)
    if (planes["path"] == NO_FILE).any():
        return FieldReading("missing", "the instrument recorded no image of this field and channel", None, pages)
    try:
        pixels = _project(_read_planes(planes, shape, dtype, pages), len(planes), projection, dtype)
    except _BadPlaneError as bad:
        return FieldReading(bad.status, bad.message, None, pages)
    return FieldReading("ok", "", pixels, pages)


def _read_planes(
    planes: pd.DataFrame, shape: tuple[int, int], dtype: np.dtype, pages: dict[str, int]
) -> Iterator[np.ndarray]:
    """Pixels (y, x) of each plane; raises _BadPlaneError at the first that cannot be used. Notes pages per file."""
    for plane in planes.itertuples():
        try:
            # A damaged header can claim an image of gigabytes: it is not decoded to find that out.
            if plane.path not in pages and Path(plane.path).is_file():
                *size, pages[plane.path] = image_header(plane.path)
                if plane.page == 0:
                    _check_size(plane.path, size, shape)
            pixels = read_plane(plane.path, plane.page)
        except InputError as error:
            raise _BadPlaneError(_status_of_unreadable(Path(plane.path)), str(error)) from error
        except _BadPlaneError:
            raise
        except Exception as error:
            # One damaged file, whatever it makes a decoder do, must not end the conversion of a plate.
            raise _BadPlaneError("unreadable", f"{plane.path}: {type(error).__name__}: {error}.") from error
        _check_size(plane.path, pixels.shape, shape)
        if not np.can_cast(pixels.dtype, dtype):
            raise _BadPlaneError("unreadable", f"{plane.path}: pixels are {pixels.dtype}, those of the plate {dtype}.")
        yield pixels


def _project(planes: Iterator[np.ndarray], count: int, projection: str, dtype: np.dtype) -> np.ndarray:
    """The mean or maximum of `count` planes, read one at a time."""
    result = next(planes)
    if count == 1:
        return result.astype(dtype, copy=False)
    if projection == "mean":
        total = result.astype(np.float64)
        for pixels in planes:
            total += pixels
        mean = total / count
        return (np.rint(mean) if dtype.kind in "iu" else mean).astype(dtype)
    for pixels in planes:
        result = np.maximum(result, pixels)
    return result.astype(dtype)


def _check_size(path: str, found: Sequence[int], expected: tuple[int, int]) -> None:
    if tuple(found) != tuple(expected):
        sizes = ["{} x {} pixels".format(*size) for size in (found, expected)]
        raise _BadPlaneError("wrong size", f"{path}: {sizes[0]}, expected {sizes[1]}.")


def _status_of_unreadable(path: Path) -> str:
    if not path.exists():
        return "missing"
    if path.is_dir():
        return "unreadable"
    size = path.stat().st_size
    if size == 0:
        return "truncated"
    with path.open("rb") as file:
        start, end = file.read(16), b""
        if path.suffix.lower() == ".png" and size > 16:
            file.seek(-12, 2)
            end = file.read()
    if start.startswith(b"\x89PNG"):
        return "unreadable" if b"IEND" in end else "truncated"
    if start[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "unreadable"
    return "truncated" if _ends_early(path, size) else "unreadable"


def _ends_early(path: Path, size: int) -> bool:
    """Whether a TIFF file refers to bytes beyond its end."""
    try:
        image_header(path)
        with tifffile.TiffFile(path, is_ome=False) as tiff:
            return any(
                offset + count > size
                for page in map(tiff.pages.__getitem__, range(len(tiff.pages)))  # iteration follows a loop for ever
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            )
    except Exception:  # a header that breaks off has many ways to fail
        return True
