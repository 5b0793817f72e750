"""Plates in ome-zarr-py, the reader behind napari's plugin: every well where it belongs, labels over images."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from equinuclei.omezarr.plates import Plate
from equinuclei.omezarr.writing import (
    PlateChannel,
    create_image,
    create_label,
    create_plate,
    set_display_ranges,
    write_pixels,
)
from equinuclei.plates.convert import PlateExport, convert_plate
from equinuclei.simulation.plates import simulate_plate

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("OME_ZARR_PYTHON", ROOT / ".venv-reader" / "bin" / "python"))
SCRIPT = Path(__file__).with_name("ome_zarr") / "read_plate.py"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason=f"no {PYTHON}: `make reader` builds it, or set OME_ZARR_PYTHON to a Python with ome-zarr",
)


def read(path, tmp_path):
    output = tmp_path / "view.npz"
    subprocess.run([PYTHON, "-I", SCRIPT, path, output], check=True, timeout=300)
    with np.load(output) as arrays:
        return dict(arrays)


def in_layout(plate, level):
    """All wells of a plate side by side, as its rows and columns say."""
    opened = Plate(plate)
    wells = opened.wells
    rows, columns = sorted({well[:-2] for well in wells}), sorted({well[-2:] for well in wells})
    first = opened.image(wells[0]).level(level)
    empty = np.zeros(first.shape, first.dtype)
    images = [
        [opened.image(row + column).level(level)[:] if row + column in wells else empty for column in columns]
        for row in rows
    ]
    return np.concatenate([np.concatenate(row, axis=-1) for row in images], axis=-2)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_converted_plate(tmp_path, version):
    simulate_plate(tmp_path / "SIM", tmp_path / "truth", barcode="SIM", wells=["A01", "B03", "B01"], fields=4, size=560,
                   seed=1)  # fmt: skip
    plate = tmp_path / "plate.ome.zarr"
    convert_plate(PlateExport(tmp_path / "SIM"), plate, tmp_path / "fields.parquet", workers=1, ngff_version=version)
    view = read(plate, tmp_path)
    assert view["channels"].tolist() == ["Brightfield", "DAPI"] and np.all(view["limits"][:, 1] > view["limits"][:, 0])
    levels = sum(name.startswith("level") for name in view)
    assert levels > 1
    for level in range(levels):
        np.testing.assert_array_equal(view[f"level{level}"], in_layout(plate, level))


def test_wells_whose_mosaics_differ_in_size(tmp_path):
    """Stages do not stop at the same place in every well: mosaics differ by a pixel or two."""
    image = np.arange(900, dtype=np.uint16).reshape(30, 30)
    tifffile.imwrite(tmp_path / "a.tif", image)
    rows = [("A01", 1, 0), ("A01", 2, 30), ("A02", 1, 0), ("A02", 2, 31.6)]
    table = pd.DataFrame(rows, columns=["well", "field", "x"]).assign(y=0.0, channel="c", path="a.tif", pixel_size=1)
    table.to_csv(tmp_path / "planes.tsv", sep="\t", index=False)
    convert_plate(PlateExport(tmp_path), tmp_path / "p.zarr", tmp_path / "fields.parquet", workers=1)
    view = read(tmp_path / "p.zarr", tmp_path)["level0"]
    assert view.shape == (1, 30, 124)
    np.testing.assert_array_equal(view[0, :, 62:92], image)
    np.testing.assert_array_equal(view[0, :, 94:], image)


def test_labels_of_a_well_lie_over_its_image(tmp_path):
    plate = tmp_path / "segmentation.ome.zarr"
    labels = np.zeros((80, 90), np.uint32)
    labels[10:30, 20:50] = 70_000
    made = create_plate(plate, "p", ["C04"])
    image = create_image(made, "C04", [PlateChannel("nucleus probability", colour="FFFFFF")], (80, 90), np.uint8, 0.5)
    write_pixels(image, lambda _, y, x: (labels[y, x] > 0).astype(np.uint8) * 200)
    write_pixels(create_label(made, "C04", "nuclei"), lambda y, x: labels[y, x])
    set_display_ranges(made)
    view = read(plate / "C" / "04" / "0", tmp_path)
    assert view["nodes"] == 3  # the image, the group of its labels, and the label image
    np.testing.assert_array_equal(view["level0"][0], np.where(labels, 200, 0))
    np.testing.assert_array_equal(view["labels0"], labels)
