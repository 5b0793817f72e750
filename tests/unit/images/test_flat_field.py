"""Uneven illumination, divided out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from equinuclei.errors import InputError
from equinuclei.images.flat_field import flatten, illumination
from equinuclei.omezarr.plates import Plate
from equinuclei.plates.convert import PlateExport, convert_plate
from equinuclei.plates.ledger import left_out_of
from equinuclei.sources.plates import find_plate_source
from support.plate_exports import write_harmony

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "plates"


def profile(coefficients, dims=(20, 16), **more):
    scale = [1 / dims[0], 1 / dims[1]]
    origin = [(dims[0] - 1) / 2, (dims[1] - 1) / 2]
    background = {"type": "Polynomial", "coefficients": coefficients, "dims": list(dims)}
    return {"background": background | {"origin": origin, "scale": scale} | more}


def test_terms_are_those_of_x_then_of_y():
    relative = illumination(profile([[1.0], [0.25, 0.5], [0.0, 0.0, 1.0]]), 16, 20)
    x, y = (np.arange(20) - 9.5) / 20, (np.arange(16) - 7.5) / 16
    np.testing.assert_allclose(relative, 1 + 0.25 * x[None] + 0.5 * y[:, None] + y[:, None] ** 2, rtol=1e-6)


def test_the_foreground_goes_before_the_background():
    both = profile([[1.0]]) | {"foreground": profile([[2.0]])["background"]}
    assert np.all(illumination(both, 4, 4) == 2)


def test_a_binned_field_has_the_same_profile():
    one = profile([[1.0], [0.5, -0.5]], dims=(40, 32))
    full, binned = illumination(one, 32, 40), illumination(one, 16, 20)
    np.testing.assert_allclose(binned, full.reshape(16, 2, 20, 2).mean(axis=(1, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    "wrong, message",
    [(profile([[0.01]]), "falls to 0.01"), (profile([[1.0]], type="Spline"), "'Spline': only 'Polynomial'")],
)
def test_a_profile_that_cannot_be(wrong, message):
    with pytest.raises(InputError, match=message):
        illumination(wrong, 16, 20)


def test_integers_are_rounded_and_end_at_their_largest():
    pixels = np.array([[100, 60000, 0]], np.uint16)
    relative = np.array([[1.6, 0.5, 0.5]], np.float32)
    flat = flatten(pixels, relative)
    assert flat.dtype == np.uint16 and flat.tolist() == [[62, 65535, 0]]
    assert flatten(pixels.astype(np.float32), relative).tolist() == [[62.5, 120000, 0]]


def test_a_plate_is_corrected_on_request(tmp_path, caplog):
    pixels = write_harmony(tmp_path / "plate")
    paths = {}
    for flat_field in (False, True):
        folder = tmp_path / str(flat_field)
        folder.mkdir()
        paths[flat_field] = folder / "plate.ome.zarr"
        convert_plate(
            PlateExport(tmp_path / "plate"), paths[flat_field], folder / "f.parquet", workers=1, flat_field=flat_field
        )
    assert "no flat-field profile of channel 'Brightfield'" in caplog.text
    raw, corrected = (Plate(paths[flag]).image("B03").read() for flag in (False, True))
    names = Plate(paths[True]).image("B03").channels
    assert np.array_equal(raw[names.index("Brightfield")], corrected[names.index("Brightfield")])
    relative = illumination(find_plate_source(tmp_path / "plate").metadata["flat_field"]["DAPI"], 16, 20)
    fields = pd.read_parquet(tmp_path / "True" / "f.parquet")
    row = fields[(fields["well"] == "B03") & (fields["channel"] == "DAPI")].iloc[0]
    dapi = names.index("DAPI")
    place = np.s_[dapi, row.y0 : row.y0 + row.height, row.x0 : row.x0 + row.width]
    assert np.array_equal(corrected[place], flatten(raw[place], relative)) and pixels
    assert not np.array_equal(corrected[place], raw[place])
    assert Plate(paths[True]).notes["flat_field_corrected"] == ["DAPI"]
    assert [one.text for one in left_out_of(paths[True])] == ["corrected for uneven illumination: channel DAPI"]
    assert not left_out_of(paths[False])


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real plates are not at {DATA}")
@pytest.mark.parametrize("name", ["harmony_phenix_BR00121482", "harmony_sonata_BALL", "harmony_v7_index_only"])
def test_profiles_of_real_exports_are_1_on_average(name):
    profiles = find_plate_source(DATA / name).metadata["flat_field"]
    for each in profiles.values():
        width, height = each["background"]["dims"]
        assert illumination(each, height, width).mean() == pytest.approx(1, abs=0.001)
