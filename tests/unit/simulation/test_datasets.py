"""Simulated data sets: repeatable, and complete."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from equinuclei.checksums import RECORD, sha256
from equinuclei.errors import InputError
from equinuclei.simulation.cell_lines import CELL_LINES
from equinuclei.simulation.datasets import simulate_dataset
from equinuclei.simulation.fields import simulate_field

LINES = list(CELL_LINES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The folder of a small data set, made by one process."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate_dataset(folder, fields_per_cell_line=2, height=48, width=64, seed=5)
    return folder


def checksums(folder):
    return {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_table_lists_every_field_in_both_modalities(dataset):
    table = pd.read_csv(dataset / "images.tsv", sep="\t", dtype=str)
    assert list(table.columns) == ["image_id", "cell_line", "modality", "image", "mask", "group"]
    assert len(table) == 7 * 2 * 2
    assert not table.duplicated(["image_id", "modality"]).any()
    assert table["cell_line"].value_counts().to_dict() == dict.fromkeys(LINES, 4)
    assert table["modality"].value_counts().to_dict() == {"fluorescence": 14, "brightfield": 14}
    assert table.iloc[0].tolist() == [
        "NIH3T3_0001",
        "NIH3T3",
        "fluorescence",
        "images/NIH3T3_0001_fluorescence.tif",
        "masks/NIH3T3_0001.tif",
        "NIH3T3_0001",
    ]
    assert (table["group"] == table["image_id"]).all()
    assert (table["mask"] == "masks/" + table["image_id"] + ".tif").all()
    listed = set(table["image"]) | set(table["mask"]) | {"images.tsv"}
    assert listed == set(checksums(dataset)) - {RECORD}


def test_files_hold_the_simulated_fields(dataset, tmp_path):
    expected = simulate_field("HepG2", [5, LINES.index("HepG2"), 1], 48, 64)
    for name, image in expected.images.items():
        assert np.array_equal(tifffile.imread(dataset / f"images/HepG2_0002_{name}.tif"), image)
    with tifffile.TiffFile(dataset / "masks/HepG2_0002.tif") as file:
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        mask = file.asarray()
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, expected.three_class)

    simulate_dataset(tmp_path, fields_per_cell_line=1, height=48, width=64, seed=5, mask="instances")
    mask = tifffile.imread(tmp_path / "masks/HepG2_0001.tif")
    assert mask.dtype == np.uint16
    assert np.array_equal(mask, simulate_field("HepG2", [5, LINES.index("HepG2"), 0], 48, 64).instances)


def test_same_bytes_with_one_process_and_two(dataset, tmp_path):
    path = simulate_dataset(tmp_path, fields_per_cell_line=2, height=48, width=64, seed=5, processes=2)
    assert path == tmp_path / "images.tsv"
    assert checksums(tmp_path) == checksums(dataset)


def test_another_seed_gives_other_files(dataset, tmp_path):
    simulate_dataset(tmp_path, fields_per_cell_line=2, height=48, width=64, seed=6)
    before, after = checksums(dataset), checksums(tmp_path)
    assert set(before) == set(after)
    assert [name for name in before if before[name] == after[name]] == ["images.tsv"]


def test_no_date_and_no_software_in_the_files(dataset):
    for path in dataset.rglob("*.tif"):
        with tifffile.TiffFile(path) as file:
            assert not {"DateTime", "Software", "ImageDescription"} & {tag.name for tag in file.pages[0].tags}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height": 31}, ["height", "31", "32 or more"]),
        ({"width": 64.0}, ["width", "64.0", "whole number"]),
        ({"mask": "binary"}, ["'binary'", "three_class, instances"]),
        ({"fields_per_cell_line": 0}, ["fields_per_cell_line", "1 or more"]),
        ({"processes": 0}, ["processes", "1 or more"]),
        ({"seed": -1}, ["seed", "-1", "0 or more"]),
        ({"seed": [1, 2]}, ["seed", "whole number"]),
        ({"scale": 0.1}, ["scale", "0.1", "0.5 to 8"]),
        ({"scale": float("nan")}, ["scale", "nan"]),
        ({"height": 20_000, "width": 20_000}, ["20000 x 20000", "smaller field"]),
    ],
)
def test_invalid_arguments_are_reported_before_anything_is_written(tmp_path, change, words):
    arguments = {"fields_per_cell_line": 1, "height": 64, "width": 64, "seed": 0} | change
    with pytest.raises(InputError) as error:
        simulate_dataset(tmp_path / "new", **arguments)
    assert not [word for word in words if word not in str(error.value)], str(error.value)
    assert not (tmp_path / "new").exists()


def test_the_folder_appears_when_it_is_whole(tmp_path, monkeypatch):
    folder, seen = tmp_path / "source", []

    def fail_late(*arguments, **options):
        seen.append(folder.exists())
        if len(seen) == 3:
            raise OSError("the machine is gone")
        return simulate_field(*arguments, **options)

    monkeypatch.setattr("equinuclei.simulation.datasets.simulate_field", fail_late)
    with pytest.raises(OSError, match="gone"):
        simulate_dataset(folder, fields_per_cell_line=1, height=48, width=64, seed=5)
    assert seen == [False] * 3 and not folder.exists()


def test_a_folder_with_something_in_it_is_not_mixed_with_the_new_data_set(tmp_path):
    (tmp_path / "images.tsv").write_text("another one")
    with pytest.raises(InputError, match="there is something in this folder"):
        simulate_dataset(tmp_path, fields_per_cell_line=1, height=48, width=64, seed=5)
