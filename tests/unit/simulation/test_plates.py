"""A simulated plate reads as the instrument's own, its mosaic is the sample, and its truth is that of the mosaic."""

import numpy as np
import pytest
import tifffile

from equinuclei.checksums import tree_sha256
from equinuclei.errors import InputError
from equinuclei.omezarr.plates import Plate
from equinuclei.plates.convert import PlateExport, convert_plate
from equinuclei.simulation.fields import simulate_field
from equinuclei.simulation.plates import simulate_plate
from equinuclei.sources.plates import find_plate_source


def simulate(folder, **changes):
    settings = {"barcode": "S<1>", "wells": ["B02", "C03"], "fields": 4, "size": 48, "seed": 7} | changes
    simulate_plate(folder / "export", folder / "truth", **settings)
    return folder / "export"


def test_the_mosaic_of_a_well_is_the_sample(tmp_path):
    source = find_plate_source(simulate(tmp_path))
    assert source.layout == "harmony" and source.name == "S<1>" and len(source.planes) == 2 * 4 * 2
    convert_plate(PlateExport(tmp_path / "export"), tmp_path / "plate.ome.zarr", tmp_path / "fields.parquet", 1)
    sample = simulate_field("HeLa", [7, 2, 2], 96, 96)
    image = Plate(tmp_path / "plate.ome.zarr").image("B02")
    stored = dict(zip(image.channels, image.read(), strict=True))
    np.testing.assert_array_equal(stored["DAPI"], sample.images["fluorescence"])
    np.testing.assert_array_equal(stored["Brightfield"], sample.images["brightfield"])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "truth" / "B02.tif"), sample.instances)


def test_the_number_of_processes_does_not_matter(tmp_path):
    simulate(tmp_path / "a"), simulate(tmp_path / "b", processes=2)
    assert tree_sha256(tmp_path / "a") == tree_sha256(tmp_path / "b")


@pytest.mark.parametrize(
    "change, message",
    [({"fields": 3}, "give a square number"), ({"wells": ["Q99x"]}, "is no well"),
     ({"cell_line": "Hela"}, "Did you mean 'HeLa'"), ({"size": 5}, "height|size")],
)  # fmt: skip
def test_what_cannot_be_simulated_is_told(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        simulate(tmp_path, **change)
