"""TIFF files whose bytes depend on the pixels alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import equinuclei.images
from equinuclei.images.tiff import write_tiff


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_equal_arrays_give_equal_bytes(tmp_path, compression):
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)
    for name in ("a.tif", "b.tif"):
        write_tiff(tmp_path / name, pixels, compression)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.asarray(), pixels)
        assert not {"DateTime", "Software", "ImageDescription"} & {tag.name for tag in file.pages[0].tags}


def test_the_package_does_not_import_torch():
    folder = Path(equinuclei.images.__path__[0])
    modules = ", ".join(f"equinuclei.images.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__")
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder.parents[1])
