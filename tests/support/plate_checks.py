"""What must hold of every plate that a reader returns, for the tests of readers."""

from pathlib import Path

import numpy as np
import pytest

from equinuclei.sources.plates import PLANE_COLUMNS, PlateSource, read_plane

SHARED = Path(__file__).resolve().parents[3] / "shared"
CASES = SHARED / "cases" / "plates"
DATA = SHARED / "data" / "plates"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real plates are not at {DATA}")
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"odd plates are not at {CASES}")


def check_planes(source: PlateSource, pixels: dict[tuple, np.ndarray]) -> None:
    """Every plane of the export is listed, and none else; its pixels are those written.

    pixels : by well, field, channel, z, and t where an export has several time points.
    """
    planes = source.planes
    assert list(planes.columns) == PLANE_COLUMNS
    assert not planes.duplicated(["well", "field", "channel", "z", "t"]).any()
    timed = any(len(key) == 5 for key in pixels)
    keys = list(planes[["well", "field", "channel", "z", *(["t"] if timed else [])]].itertuples(index=False, name=None))
    assert set(keys) == set(pixels)
    assert timed or set(planes["t"]) == {0}
    for key, plane in zip(keys, planes.itertuples(), strict=True):
        image = read_plane(plane.path, plane.page)
        assert image.shape == (plane.height, plane.width)
        np.testing.assert_array_equal(image, pixels[key])


def positions(source: PlateSource) -> dict:
    """Corner (y, x) by field number, of the first well."""
    first = source.planes[source.planes["well"] == source.planes["well"].iloc[0]].drop_duplicates("field")
    return {row.field: (round(row.y, 6), round(row.x, 6)) for row in first.itertuples()}
