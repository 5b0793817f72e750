"""The metadata of OME-Zarr groups: NGFF 0.5 keeps it under "ome", NGFF 0.4 among the attributes themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import zarr

from equinuclei.errors import InputError, reading

NgffVersion = Literal["0.4", "0.5"]
NGFF_VERSIONS: tuple[NgffVersion, ...] = ("0.4", "0.5")

Metadata = dict[str, Any]
"""JSON as Zarr reads it."""


def known_version(version: str) -> NgffVersion:
    """The NGFF version of that name; raises InputError if it is not one of `NGFF_VERSIONS`."""
    for known in NGFF_VERSIONS:
        if version == known:
            return known
    raise InputError(f"ngff_version {version!r} is not one of {', '.join(NGFF_VERSIONS)}.")


def is_zarr(path: Path) -> bool:
    """Whether a Zarr group or array lies at `path`."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


REMEDY = "its metadata is damaged: remove it, and run again"


def read_attributes(group: Path) -> Metadata:
    """All attributes of a group, those of other programs included. Raises InputError for damaged ones."""
    with reading(group, REMEDY):
        return zarr.open_group(group, mode="r").attrs.asdict()


def open_array(path: Path, mode: Literal["r", "r+"] = "r") -> zarr.Array:
    """An array. Raises InputError if its metadata is damaged."""
    with reading(path, REMEDY):
        return zarr.open_array(path, mode=mode)


def ngff_part(attributes: Metadata) -> Metadata:
    """What NGFF specifies of a group's attributes; nothing where they are none."""
    part = attributes.get("ome", attributes)
    return part if isinstance(part, dict) else {}


def read_metadata(group: Path) -> Metadata:
    """The NGFF metadata of a group."""
    return ngff_part(read_attributes(group))


@contextmanager
def changed_metadata(group: Path) -> Iterator[Metadata]:
    """Yield the NGFF metadata of a group; what the block changes is written if it ends without an error."""
    opened = zarr.open_group(group, mode="r+")
    attributes: Metadata = opened.attrs.asdict()
    yield ngff_part(attributes)
    opened.attrs.put(attributes)


def pixel_size_of(metadata: Metadata) -> float | None:
    """Micrometres per pixel of an image at full resolution; None where its axes have no unit."""
    multiscale = metadata["multiscales"][0]
    if "unit" not in multiscale["axes"][-1]:
        return None
    return float(multiscale["datasets"][0]["coordinateTransformations"][0]["scale"][-1])
