"""Writing TIFF files."""

from pathlib import Path

import numpy as np
import tifffile

from equinuclei.runtime.files import replacing


def write_tiff(path: str | Path, array: np.ndarray, compression: str | None = None) -> None:
    """Write an array (y, x) as a TIFF, atomically.

    The bytes depend on the array alone: the file contains neither a date nor the version of any software.
    """
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            array,
            photometric="minisblack",
            compression=compression,
            metadata=None,
            datetime=None,
            software=False,
        )
