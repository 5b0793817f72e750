"""Fixtures of several packages."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from equinuclei.dataset.convert import ConvertedFiles, binarize_masks, convert_dataset
from equinuclei.dataset.splits import split_dataset, write_splits

MASK = {"kind": "binary", "border_as": "nucleus"}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Six images of two odd shapes, one of them without a nucleus: paths by name."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for number in range(6):
        shape = (33, 40) if number % 2 else (36, 36)
        y, x = np.mgrid[: shape[0], : shape[1]]
        mask = ((y - 15) ** 2 + (x - 18) ** 2 < 50) & (number != 4)
        image = rng.normal(1000, 50, shape) + 2000 * mask
        tifffile.imwrite(root / "images" / f"i{number}.tif", image.astype(np.uint16))
        tifffile.imwrite(root / "masks" / f"i{number}.tif", mask.astype(np.uint8))
    parts = ["train", "train", "test", "test", "test", "val"]
    rows = "".join(f"i{number},{part},{'ab'[number % 2]}\n" for number, part in enumerate(parts))
    (root / "split.csv").write_text(f"name,split,cell_line\n{rows}")
    paths = {name: root / f"{name}.zarr" for name in ("images", "annotations", "targets")}
    paths |= {"fields": root / "fields.tsv", "splits": root / "splits.tsv", "root": root}
    source = {"layout": "folder", "path": str(root), "modality": "fluorescence", "mask": MASK}
    convert_dataset(source, ConvertedFiles(paths["images"], paths["annotations"], paths["fields"]), workers=1)
    binarize_masks(paths["annotations"], paths["fields"], paths["targets"], MASK, workers=1)
    fields = pd.read_csv(paths["fields"], sep="\t", dtype=str, keep_default_na=False)
    write_splits(split_dataset(fields, [1.0, 0.0, 0.0], 0), paths["splits"])
    return paths
