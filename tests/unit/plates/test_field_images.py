"""Images of fields that are damaged in any way: they are reported, and end no conversion."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.plates.field_images import STATUSES, read_field
from support.plate_exports import random_image


@pytest.fixture(scope="module", params=[None, "lzw", "zlib"])
def content(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "i.tif"
    tifffile.imwrite(path, TestDamage.IMAGE, compression=request.param, rowsperstrip=4)
    return path.read_bytes()


class TestDamage:
    """A file broken anywhere is reported, or harmless: it neither ends the conversion nor yields wrong pixels."""

    IMAGE = random_image(0)

    def read(self, folder: Path, content: bytes) -> tuple[str, str, np.ndarray | None]:
        path = folder / "i.tif"
        path.write_bytes(content)
        planes = pd.DataFrame({"path": [str(path)], "page": [0]})
        reading = read_field(planes, self.IMAGE.shape, np.dtype("uint16"))
        assert reading.status in STATUSES
        assert (reading.status == "ok") == (reading.pixels is not None) == (reading.message == "")
        return reading.status, reading.message, reading.pixels

    def test_truncated_anywhere(self, tmp_path, content):
        for length in range(len(content)):
            status, _, pixels = self.read(tmp_path, content[:length])
            assert status in ("truncated", "unreadable") or np.array_equal(pixels, self.IMAGE), length
            assert status != "unreadable" or length < 16, length

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_changed_anywhere(self, tmp_path_factory, content, data):
        at = data.draw(st.integers(0, len(content) - 1))
        changed = bytearray(content)
        changed[at] ^= data.draw(st.integers(1, 255))
        _, _, pixels = self.read(tmp_path_factory.mktemp("changed"), bytes(changed))
        assert pixels is None or (pixels.shape, pixels.dtype) == (self.IMAGE.shape, self.IMAGE.dtype)


def test_the_statuses_are_those_documented():
    assert set(STATUSES) == {"ok", "missing", "truncated", "unreadable", "wrong size"}
