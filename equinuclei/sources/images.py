"""Reading the pixels of one image or mask file."""

import math
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile

from equinuclei.claims import check_claim
from equinuclei.errors import InputError, reading

SUFFIXES = (".tif", ".tiff", ".png")
IMAGE_DTYPES = ("uint8", "uint16", "float32")

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_DEFLATE_RATIO = 1040  # a compressed byte of a PNG stands for 1032 at most


def read_image(path: str | Path, page: int | None = None) -> np.ndarray:
    """Read a grey image.

    Parameters
    ----------
    path
        A TIFF or PNG file. Red, green and blue are reduced to one channel if they are equal.
    page
        Page to read, counted from 0: a channel, plane or time point of a TIFF file, in the order of the file. None for
        files with a single page.

    Returns
    -------
    numpy.ndarray
        Shape (y, x), with the stored dtype (uint8, uint16 or float32) and the stored values, whatever the file says
        about displaying them.

    Raises
    ------
    InputError
        If the file is incomplete or damaged, lacks the page, has several pages and none is chosen, has colours or
        another pixel type, or has pixels that are NaN or infinite.
    """
    image = _read_grey(Path(path), page)
    if image.dtype.name not in IMAGE_DTYPES:
        raise InputError(f"{path}: pixels are {image.dtype}, expected uint8, uint16 or float32: convert the image")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        count = int((~np.isfinite(image)).sum())
        raise InputError(f"{path}: {count} pixels are NaN or infinite: give them a value, or leave the image out")
    return image


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask of class codes or labels.

    Parameters
    ----------
    path
        A TIFF or PNG file with one page: integers of any width, booleans, or whole floating-point numbers (as in 32-bit
        label images).

    Returns
    -------
    numpy.ndarray
        Shape (y, x), uint8, uint16 or uint32: the stored dtype if it is unsigned, otherwise the smallest that holds the
        values.

    Raises
    ------
    InputError
        If the file is incomplete or damaged, has several pages or colours, or has negative, fractional or too large
        values.
    """
    mask = _read_grey(Path(path), None)
    if mask.dtype == bool:
        return mask.astype(np.uint8)
    if mask.dtype.name in ("uint8", "uint16", "uint32"):
        return mask
    if mask.dtype.kind not in "iuf":
        raise InputError(f"{path}: mask pixels are {mask.dtype}, expected whole numbers")
    if not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > np.iinfo(np.uint32).max or (mask % 1).any():
        raise InputError(f"{path}: mask pixels must be whole numbers from 0 to 2^32 - 1: save it as a label image")
    return mask.astype(np.min_scalar_type(int(mask.max())))


def _read_grey(path: Path, page: int | None) -> np.ndarray:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: the name must end in .tif, .tiff or .png")
    with reading(path, "it is truncated, damaged or not of the type that its name says"):
        pixels = _read_png(path, page) if suffix == ".png" else _read_tiff(path, page)
    if pixels.ndim == 3:
        pixels = _merge_channels(path, pixels)
    if pixels.ndim != 2 or 0 in pixels.shape:
        raise InputError(f"{path}: shape {pixels.shape}, expected one image (y, x)")
    return np.ascontiguousarray(pixels)


def open_tiff(path: str | Path) -> tifffile.TiffFile:
    """A TIFF file for itself: not as OME, which can name other files, wherever they are.

    Raises InputError where its header claims more than memory holds: no header needs much.
    """
    try:
        return tifffile.TiffFile(path, is_ome=False)
    except MemoryError:
        raise InputError(f"{path}: its header claims more than memory holds: was it copied whole?") from None


def image_header(path: str | Path) -> tuple[int, int, int]:
    """Height, width (pixels) and number of pages of an image file, from its header.

    Raises
    ------
    InputError
        If the header is damaged.
    UnavailableError
        If the file cannot be read now.
    """
    path = Path(path)
    with reading(path, "its header is damaged: was it copied whole?"):
        if path.suffix.lower() == ".png":
            with path.open("rb") as file:
                width, height, _, _ = _png_header(file.read(33))
            return height, width, 1
        with open_tiff(path) as tiff:
            page = tiff.pages[0]
            if not isinstance(page, tifffile.TiffPage):
                raise ValueError("no header of a page")
            # A damaged tag can give several values for one, or none.
            if not (isinstance(page.imagelength, int) and isinstance(page.imagewidth, int)):
                raise ValueError("no size of the image")
            return page.imagelength, page.imagewidth, len(tiff.pages)


def _read_tiff(path: Path, page: int | None) -> np.ndarray:
    # An OME-TIFF may list other files as its planes; here only the planes in this file count.
    with open_tiff(path) as tiff:
        first, pages, held = tiff.pages[0], len(tiff.pages), tiff.filehandle.size
        if first.size == 0:
            raise ValueError("an image without pixels")
        # ImageJ stores a stack behind the header of one page.
        behind_one_header = pages == 1 and tiff.series and tiff.series[0].size > first.size
        if behind_one_header:
            pages = tiff.series[0].size // first.size
        number = _check_page(path, page, pages)
        chosen = first if behind_one_header else tiff.pages[number]
        # tifffile reads missing strips at the end as zeros for some encodings.
        end = max(a + n for a, n in zip(chosen.dataoffsets, chosen.databytecounts, strict=True))
        if behind_one_header:
            end = max(end, first.dataoffsets[0] + tiff.series[0].nbytes)
        if end > held:
            raise ValueError(f"{end} bytes expected, {held} found")
        if behind_one_header:
            return tiff.series[0].asarray().reshape(pages, *first.shape)[number]
        _check_tiff_claim(path, chosen, held)
        pixels = chosen.asarray()
        return np.moveaxis(pixels, 0, -1) if chosen.axes == "SYX" else pixels


def _check_tiff_claim(path: Path, page: tifffile.TiffPage | tifffile.TiffFrame, held: int) -> None:
    """Refuse a page that claims more pixels, or larger tiles, than its file can hold."""
    key = page if isinstance(page, tifffile.TiffPage) else page.keyframe  # what pages like it share with it
    if key is None:
        raise ValueError("no header of a page")
    if key.compression == 1:  # none
        check_claim(path, key.size * key.bitspersample // 8, held, ratio=1)
    size = 1 if key.dtype is None else key.dtype.itemsize
    tile = math.prod(key.chunks) if key.is_tiled else 0  # a strip ends with the image
    check_claim(path, max(key.size, tile) * size, held)


def _check_page(path: Path, page: int | None, pages: int) -> int:
    if page is None and pages > 1:
        raise InputError(
            f"{path}: holds {pages} pages: choose one with `page` in the data set's `source`, or with --page on the "
            "command line (the first page is 0)"
        )
    if page is not None and page >= pages:
        raise InputError(f"{path}: there is no page {page}; the file holds {pages}, counted from 0")
    return page or 0


def _read_png(path: Path, page: int | None) -> np.ndarray:
    _check_page(path, page, 1)
    with path.open("rb") as file:
        width, height, depth, colour = _png_header(file.read(33))
        # Pillow would stretch 2- and 4-bit grey values to 0..255 and reduce 16-bit colours to 8 bits.
        if (colour == 0 and depth in (2, 4)) or (colour != 0 and depth == 16):
            raise InputError(
                f"{path}: a {depth}-bit {'grey' if colour == 0 else 'colour'} PNG: save it as 8- or 16-bit grey"
            )
        check_claim(path, width * height * depth // 8, path.stat().st_size, _DEFLATE_RATIO)
    # Pillow goes by the content of a file, and would pass some kinds of it on to other programs: this is a PNG.
    return np.asarray(iio.imread(path, plugin="pillow", index=0))


def _png_header(header: bytes) -> tuple[int, int, int, int]:
    """Width, height, bits per sample and kind of colours, from the first 33 bytes of a PNG file."""
    if header[:8] != PNG_SIGNATURE or len(header) < 33 or header[12:16] != b"IHDR":
        raise ValueError("no PNG header")
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big"), header[24], header[25]


def _merge_channels(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Reduce (y, x, channel) with equal colours, and constant alpha if there is one, to (y, x)."""
    channels = pixels.shape[-1]
    colours = pixels[..., : channels - 1] if channels in (2, 4) else pixels
    if channels > 4:
        raise InputError(f"{path}: shape {pixels.shape} has {channels} channels: save only the channel to use")
    if channels in (2, 4) and (pixels[..., -1] != pixels[..., -1].flat[0]).any():
        raise InputError(f"{path}: shape {pixels.shape} has varying transparency: save it as a grey image")
    if (colours != colours[..., :1]).any():
        raise InputError(
            f"{path}: a colour image, shape {pixels.shape}, whose channels differ: save the one to use as a grey image"
        )
    return colours[..., 0]
