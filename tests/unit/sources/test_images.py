"""Headers of images that claim what they do not hold."""

import pytest
import tifffile

from equinuclei.errors import InputError, is_of_the_system
from equinuclei.sources.images import image_header, open_tiff


def test_a_header_that_claims_more_than_memory_holds_is_damaged(tmp_path, monkeypatch):
    """Two billion rows in strips of 16: tifffile lists the strips. That says nothing of the machine."""

    def too_large(*_, **__):
        raise MemoryError

    monkeypatch.setattr(tifffile, "TiffFile", too_large)
    for read in (open_tiff, image_header):
        with pytest.raises(InputError, match=r"a\.tif: its header claims more than memory holds") as raised:
            read(tmp_path / "a.tif")
        assert not is_of_the_system(raised.value)
