"""The image of one field in one channel, read from a plate's files; what is wrong with it where it cannot be read."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from equinuclei.errors import InputError, UnavailableError, is_of_the_system
from equinuclei.sources.images import open_tiff
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


_MOST_BYTES = 64
"""Of a pixel as a sound file may store it: some colours of eight bytes. What claims more is damaged."""


def read_field(
    planes: pd.DataFrame | None,
    shape: tuple[int, int],
    dtype: np.dtype,
    projection: str = "max",
    absent: Collection[str] = (),
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
    absent
        Paths of the files that were not there when the plate was taken: they are missing, and not looked for again.

    Raises
    ------
    UnavailableError
        If a file that was there cannot be read now. Only what was read, and is broken, is recorded as broken.
    """
    pages: dict[str, int] = {}
    if planes is None or planes.empty:
        return FieldReading("missing", "the plate has no image of this field and channel", None, pages)
    if (planes["path"] == NO_FILE).any():
        return FieldReading("missing", "the instrument recorded no image of this field and channel", None, pages)
    try:
        pixels = _project(_read_planes(planes, shape, dtype, pages, absent), len(planes), projection, dtype)
    except _BadPlaneError as bad:
        return FieldReading(bad.status, bad.message, None, pages)
    return FieldReading("ok", "", pixels, pages)


def _read_planes(
    planes: pd.DataFrame,
    shape: tuple[int, int],
    dtype: np.dtype,
    pages: dict[str, int],
    absent: Collection[str],
) -> Iterator[np.ndarray]:
    """Pixels (y, x) of each plane; raises _BadPlaneError at the first that cannot be used. Notes pages per file."""
    for plane in planes.itertuples():
        if plane.path in absent:
            raise _BadPlaneError("missing", f"{plane.path}: is not there: was the plate copied whole?")
        try:
            pixels = _read_plane(plane.path, plane.page, shape, pages)
        except _BadPlaneError:
            # A file server may show garbage for a moment, or not show a part of a file: what is broken is so twice.
            pages.pop(plane.path, None)
            pixels = _read_plane(plane.path, plane.page, shape, pages)
        if not np.can_cast(pixels.dtype, dtype):
            raise _BadPlaneError("unreadable", f"{plane.path}: pixels are {pixels.dtype}, those of the plate {dtype}.")
        yield pixels


def _read_plane(path: str, page: int, shape: tuple[int, int], pages: dict[str, int]) -> np.ndarray:
    """Pixels (y, x) of a plane; raises _BadPlaneError if it is broken, UnavailableError if that cannot be told now."""
    try:
        Path(path).stat()  # a reader calls a file that is not there broken
        # A damaged header can claim an image of gigabytes: it is not decoded to find that out.
        if path not in pages and Path(path).is_file():
            *size, pages[path] = image_header(path)
            if page == 0:
                _check_size(path, size, shape)
        pixels = read_plane(path, page)
    except (UnavailableError, _BadPlaneError):
        raise
    except Exception as error:
        # One damaged file, whatever it makes a decoder do, must not end the conversion of a plate.
        if is_of_the_system(error) and not (isinstance(error, MemoryError) and claims_too_much(path, page, shape)):
            raise _unavailable(path, error) from error
        if isinstance(error, InputError):
            raise _BadPlaneError(_status_of_unreadable(Path(path)), str(error)) from error
        raise _BadPlaneError("unreadable", f"{path}: {type(error).__name__}: {error}.") from error
    _check_size(path, pixels.shape, shape)
    return pixels


def claims_too_much(path: str, page: int, shape: tuple[int, int]) -> bool:
    """Whether the header of a page claims more bytes than any image of this shape: that is why memory is short."""
    try:
        with open_tiff(path) as tiff:
            claimed = tiff.pages[page]
            return isinstance(claimed, tifffile.TiffPage) and claimed.nbytes > _MOST_BYTES * shape[0] * shape[1]
    except Exception as error:  # what is damaged so that not even its header can be read, claims anything
        return not is_of_the_system(error)


def _unavailable(path: str | Path, error: BaseException) -> UnavailableError:
    """What is told of a file that cannot be read now: with what the system said, not what a reader made of it."""
    while error.__cause__ is not None and not isinstance(error, OSError | MemoryError):
        error = error.__cause__
    why = (error.strerror if isinstance(error, OSError) else "") or str(error) or "too little memory"
    return UnavailableError(f"{path}: cannot be read now ({why}); the next tick tries again")


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
    """What is wrong with a file that a reader refused. Raises UnavailableError if it cannot be looked at now."""
    try:
        return _status_by_bytes(path)
    except OSError as error:
        raise _unavailable(path, error) from error


def _status_by_bytes(path: Path) -> str:
    size = path.stat().st_size
    if path.is_dir():
        return "unreadable"
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
        with open_tiff(path) as tiff:
            return any(
                offset + count > size
                for page in map(tiff.pages.__getitem__, range(len(tiff.pages)))  # iteration follows a loop for ever
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            )
    except Exception as error:  # a header that breaks off has many ways to fail
        if is_of_the_system(error):
            raise _unavailable(path, error) from error
        return True
