"""The public sets of real images run through the workflow by their configuration alone."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from conftest import ROOT, snakemake

from equinuclei.dataset.parts import read_fields, read_splits
from equinuclei.omezarr.stacks import read_row

CONFIG = yaml.safe_load((ROOT / "config/real.yaml").read_text())
DATA = (ROOT / CONFIG["data_root"]).resolve()

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the real sets of config/real.yaml in {DATA.name}")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    targets = [f"results/{d['name']}/{f}" for d in CONFIG["datasets"] for f in ("splits.tsv", "targets.zarr")]
    snakemake(folder, *targets, config={**CONFIG, "data_root": str(DATA)})
    return folder / "results"


@pytest.mark.parametrize(
    "name, train, val, shapes", [("dsb2018_fluo", 389, 71, 8), ("brifiseg_brightfield", 92, 20, 1)]
)
def test_every_image_is_converted_and_the_given_split_kept(results, name, train, val, shapes):
    fields, splits = read_fields(results / name / "fields.tsv"), read_splits(results / name / "splits.tsv")
    assert splits["part"].value_counts().to_dict() == {"train": train, "val": val}
    assert fields["array"].nunique() == shapes and len(fields) == train + val
    for row in fields[::7].itertuples():
        image = tifffile.imread(DATA / name / row.image_file)
        mask = tifffile.imread(DATA / name / row.mask_file)
        np.testing.assert_array_equal(read_row(results / name / "images.zarr" / row.array, row.row), image)
        binary = read_row(results / name / "targets.zarr" / "binary" / row.array, row.row)
        np.testing.assert_array_equal(binary > 0, mask > 0)
        instances = read_row(results / name / "targets.zarr" / "instances" / row.array, row.row)
        np.testing.assert_array_equal(instances > 0, mask > 0)


def test_a_group_is_in_one_part(results):
    splits = read_splits(results / "dsb2018_fluo" / "splits.tsv")
    assert splits.groupby("group")["part"].nunique().max() == 1
    assert splits["group"].nunique() < len(splits)
