"""Small OME-Zarr plates as other software writes them, with random pixels, for the tests of their reader."""

import json
from pathlib import Path

import numpy as np
import zarr

from support.plate_exports import random_image


def write_zarr_plate(path: Path, wells: dict[str, list[dict]], acquisitions: tuple[dict, ...] = ()) -> None:
    """An NGFF 0.4 plate. wells : images by the path of a well; an image is the arguments of `write_zarr_image`."""
    names = [well.split("/") for well in wells]
    plate = {
        "version": "0.4",
        "name": path.stem,
        "rows": [{"name": row} for row in sorted({row for row, _ in names})],
        "columns": [{"name": column} for column in sorted({column for _, column in names})],
        "wells": [{"path": well} for well in wells],
    }
    _write_group(path, {"plate": plate | ({"acquisitions": list(acquisitions)} if acquisitions else {})})
    for well, images in wells.items():
        listed = []
        for image in images:
            write_zarr_image(path / well / image["name"], **{k: v for k, v in image.items() if k != "acquisition"})
            listed.append({key: image[key] for key in ("acquisition",) if key in image} | {"path": image["name"]})
        _write_group(path / well, {"well": {"version": "0.4", "images": listed}})


def write_zarr_image(
    folder: Path,
    name: str,
    pixels: np.ndarray,
    labels: tuple[str, ...] = (),
    corner: tuple[float, float] | None = None,
    axes: str | None = "cyx",
    chunks: tuple[int, ...] | None = None,
    levels: int = 1,
) -> None:
    """An image of 0.5 micrometres per pixel, at `corner` (y, x); its array holds all chunks. axes : None: not told."""
    del name
    _write_group(folder, {})
    datasets = []
    for level in range(levels):
        reduced = pixels[..., :: 2**level, :: 2**level]
        array = zarr.create_array(
            folder / str(level),
            shape=reduced.shape,
            chunks=chunks or (*(1 for _ in reduced.shape[:-2]), *reduced.shape[-2:]),
            dtype=reduced.dtype,
            zarr_format=2,
            chunk_key_encoding={"name": "v2", "separator": "/"},
            config={"write_empty_chunks": True},
            compressors=None,
        )
        array[...] = reduced
        leading = [1.0] * (pixels.ndim - 2)
        steps: list[dict] = [{"type": "scale", "scale": [*leading, 0.5 * 2**level, 0.5 * 2**level]}]
        if corner is not None:
            steps.append({"type": "translation", "translation": [*(0 * one for one in leading), *corner]})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    multiscale: dict = {"version": "0.4", "datasets": datasets}
    if axes is not None:
        multiscale["axes"] = [
            {"name": axis, **({"type": "space", "unit": "micrometer"} if axis in "zyx" else {})} for axis in axes
        ]
    channels = {"omero": {"channels": [{"label": label} for label in labels]}} if labels else {}
    _write_group(folder, {"multiscales": [multiscale], **channels})


def random_pixels(seed: int, channels: int = 2, shape: tuple[int, int] = (16, 20)) -> np.ndarray:
    return np.stack([random_image(100 * seed + channel, shape) for channel in range(channels)])


def _write_group(folder: Path, attributes: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps(attributes))
