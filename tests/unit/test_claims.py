"""A file that claims more than it can hold is refused before it is decoded."""

import struct
import zlib
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
import tifffile

from equinuclei import claims
from equinuclei.claims import HARMLESS, check_claim, size_in_words
from equinuclei.errors import InputError, UnavailableError
from equinuclei.plates.field_images import read_field
from equinuclei.sources.images import image_header, read_image
from support.plate_checks import SHARED


def test_plausible_claims():
    check_claim("a.tif", HARMLESS, 1)
    check_claim("a.tif", 1000 * HARMLESS // 1000, HARMLESS, ratio=1)
    check_claim("a.tif", 2 * HARMLESS, HARMLESS // 1000)


@pytest.mark.parametrize(
    ("claimed", "held", "ratio"), [(2 * HARMLESS, 100, 10_000), (1001, 1000, 1), (10**16, 10**9, 1040)]
)
def test_claims_that_no_file_can_keep(claimed, held, ratio):
    with pytest.raises(InputError, match=r"^a\.tif: claims .* of pixels, and holds"):
        check_claim("a.tif", claimed, held, ratio)


def test_a_claim_above_the_memory_is_no_fault_of_the_file(monkeypatch):
    monkeypatch.setattr(claims, "_memory", lambda: 2 * HARMLESS)
    with pytest.raises(UnavailableError, match="more than the memory of this machine"):
        check_claim("a.tif", 3 * HARMLESS, 3 * HARMLESS)


@pytest.mark.parametrize(
    ("count", "words"), [(12, "12 bytes"), (1234, "1.23 kB"), (3.5e12, "3.5 TB"), (10**30, "1.0e+18 TB")]
)
def test_sizes_in_words(count, words):
    assert size_in_words(count) == words


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def test_a_png_that_claims_gigabytes(tmp_path):
    (tmp_path / "a.png").write_bytes(png(60_000, 60_000, (b"IDAT", zlib.compress(bytes(1000)))))
    assert image_header(tmp_path / "a.png") == (60_000, 60_000, 1)
    with pytest.raises(InputError, match=r"claims 3\.6 GB"):
        read_image(tmp_path / "a.png")


def test_a_png_whose_other_chunks_expand(tmp_path):
    bomb = zlib.compress(bytes(200_000_000), 9)
    row = zlib.compress(bytes(5 * 4))
    for kind, body in ((b"zTXt", b"x\0\0" + bomb), (b"iCCP", b"x\0\0" + bomb), (b"IDAT", bomb)):
        (tmp_path / "a.png").write_bytes(png(4, 4, (kind, body), (b"IDAT", row)))
        with suppress(InputError):
            assert read_image(tmp_path / "a.png").shape == (4, 4)


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xff\xd8\xff\xe0" + bytes(50)]
)
def test_a_file_of_another_kind_named_png(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match="not of the type that its name says"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("tag", "value"), [(257, 2**31), (256, 2**32 - 1), (322, 2**20), (278, 2**31)])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "zlib", "tile": (16, 16)}])
def test_a_tiff_that_claims_more_than_it_holds(tmp_path, tag, value, options):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((32, 32), np.uint16), **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        entry = tiff.pages[0].tags.get(tag)
    if entry is None:
        pytest.skip("this kind of file has no such tag")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    struct.pack_into("<HII", data, entry.offset + 2, 4, 1, value)
    (tmp_path / "a.tif").write_bytes(data)
    if tag == 278:  # rows of a strip: those of the image at most
        assert read_image(tmp_path / "a.tif").shape == (32, 32)
        return
    with pytest.raises(InputError):
        read_image(tmp_path / "a.tif")


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="the odd images are not here")
def test_a_published_file_that_claims_terabytes():
    with pytest.raises(InputError, match="claims"):
        read_image(SHARED / "cases/images/claims_3_TiB.tif")


def test_pages_that_lead_back_to_the_first(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((16, 20), np.uint16), metadata=None)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    (count,) = struct.unpack_from("<H", data, 8)
    struct.pack_into("<I", data, 8 + 2 + 12 * count, 8)
    (tmp_path / "a.tif").write_bytes(data)
    assert read_image(tmp_path / "a.tif", 0).shape == (16, 20)
    planes = pd.DataFrame({"path": [str(tmp_path / "a.tif")], "page": [1]})
    assert read_field(planes, (16, 20), np.dtype(np.uint16)).status == "unreadable"
