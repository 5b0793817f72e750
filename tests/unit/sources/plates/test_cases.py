"""Odd plates that public reports describe: what is read of them, or refused."""

import pytest

from equinuclei.errors import InputError
from equinuclei.sources.plates import find_plate_source, read_plane
from support.plate_checks import CASES, needs_cases


@needs_cases
@pytest.mark.parametrize(
    ("case", "layout", "fields", "channels", "set_aside"),
    [
        ("incell_xdce/PL", "incell", [1, 2], ["DAPI", "FITC"], 0),
        ("zarr_derived_image/PL.zarr", "ome-zarr", [1], ["A488", "DAPI"], 2),
        ("zarr_missing_chunks/PL.zarr", "ome-zarr", [1], ["A488", "DAPI"], 0),
        (
            "zarr_multiplex/PL.zarr",
            "ome-zarr",
            [1],
            [f"cycle{cycle} {label}" for cycle in range(3) for label in ("DAPI", f"marker{cycle}")],
            0,
        ),
    ],
)
def test_is_read_as_what_it_is(case, layout, fields, channels, set_aside):
    source = find_plate_source(CASES / case)
    planes = source.planes
    assert source.layout == layout and planes["well"].nunique() == 2
    assert sorted(set(planes["field"])) == fields and sorted(set(planes["channel"])) == channels
    assert len(planes) == 2 * len(fields) * len(channels) and len(source.set_aside) == set_aside
    lost = []
    for plane in planes.itertuples():
        try:
            assert read_plane(plane.path, plane.page).shape == (plane.height, plane.width)
        except InputError as error:
            lost.append(str(error))
    assert len(lost) == (case == "zarr_missing_chunks/PL.zarr")
    assert all("2 of 4 chunks are absent: was it copied whole?" in why for why in lost)
