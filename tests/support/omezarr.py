"""Checks of OME-Zarr plates by other programs' models of the format."""

import subprocess
import sys
from pathlib import Path

import yaozarrs

from equinuclei.omezarr.plates import Plate

# In a process of its own: once ngio is imported, ome-zarr-models' 0.4 models refuse their own parts.
_MODELS = """
import sys, zarr, ome_zarr_models.v04, ome_zarr_models.v05
models = {"0.4": ome_zarr_models.v04, "0.5": ome_zarr_models.v05}[sys.argv[2]]
plate = zarr.open_group(sys.argv[1], mode="r")
models.HCS.from_zarr(plate)
for well in sys.argv[3:]:
    models.Image.from_zarr(plate[well + "/0"])
"""


def check_valid(path: Path, labels: tuple[str, ...] = ()) -> None:
    """Assert that the metadata of a plate, its images and label images follow NGFF."""
    plate = Plate(path)
    wells = [f"{well[:-2]}/{well[-2:]}" for well in plate.wells]
    yaozarrs.validate_zarr_store(str(path))
    for well in wells:
        yaozarrs.validate_zarr_store(str(path / well / "0"))
        for label in labels:
            yaozarrs.validate_zarr_store(str(path / well / "0" / "labels" / label))
    command = [sys.executable, "-W", "ignore", "-c", _MODELS, str(path), plate.ngff_version, *wells]
    subprocess.run(command, check=True)
