"""Stacks: what is read back is what was written, whatever the shards, and the files are valid OME-Zarr."""

import threading
from pathlib import Path

import dask
import numpy as np
import ome_zarr_models.v05
import pandas as pd
import pytest
import yaozarrs
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.omezarr import stacks as store

DTYPES = ["uint8", "uint16", "uint32", "float32", "bool"]


def random_images(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 60000, shape)
    return values.astype(dtype)


def check_valid(path: Path) -> None:
    yaozarrs.validate_zarr_store(path)
    ome_zarr_models.v05.Image.from_zarr(zarr.open_group(path, mode="r"))


def test_plan_names_arrays_and_counts_rows():
    images = pd.DataFrame(
        [
            ("a", "fluorescence", 8, 6, "uint8"),
            ("b", "brightfield", 8, 6, "uint16"),
            ("c", "fluorescence", 8, 6, "uint8"),
            ("d", "brightfield", 8, 6, "uint8"),
            ("e", "fluorescence", 6, 8, "uint8"),
        ],
        columns=["image_id", "modality", "height", "width", "dtype"],
        index=[7, 3, 9, 1, 2],
    )
    planned = store.plan_stacks(images)
    assert planned["array"].tolist() == [
        "fluorescence/8x6",
        "brightfield/8x6-uint16",
        "fluorescence/8x6",
        "brightfield/8x6-uint8",
        "fluorescence/6x8",
    ]
    assert planned["row"].tolist() == [0, 0, 1, 0, 0]
    pd.testing.assert_frame_equal(planned[images.columns], images)


@pytest.mark.parametrize("modality", ["", "..", ".hidden", "a/b", "phase contrast", "-rf", "zarr.json", "µ"])
def test_plan_refuses_modalities_that_name_no_folder(modality):
    images = pd.DataFrame({"modality": [modality], "height": [1], "width": [1], "dtype": ["uint8"]})
    with pytest.raises(InputError, match="modality"):
        store.plan_stacks(images)


def test_shard_rows_make_shards_of_100_to_200_megabytes():
    rows = store.shard_rows(1080, 1080, 2, 3024)
    assert 100e6 < rows * 1080 * 1080 * 2 < 200e6
    assert store.shard_rows(1080, 1080, 2, 5) == 5
    assert store.shard_rows(20000, 20000, 2, 5) == 1


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 9),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    dtype=st.sampled_from(DTYPES),
    per_shard=st.integers(1, 10),
    workers=st.integers(1, 3),
)
def test_round_trip(tmp_path_factory, count, height, width, dtype, per_shard, workers):
    folder = tmp_path_factory.mktemp("stack")
    images = random_images((count, height, width), dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD_BYTES", per_shard * height * width * images.itemsize)
        stack = store.create_stack(folder / "s.zarr", "m/axb", count, height, width, dtype)
        store.write_stack(stack, lambda row: images[row], workers)
    assert stack.shards == (min(per_shard, count), height, width)
    assert stack.chunks == (1, height, width)
    read = store.open_stack(folder / "s.zarr", "m/axb")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read[:], images)
    for row in range(count):
        np.testing.assert_array_equal(store.read_row(read, row), images[row])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pixel_size", [None, 0.65])
def test_stack_is_valid_ome_zarr(tmp_path, dtype, pixel_size):
    stack = store.create_stack(tmp_path / "s.zarr", "fluorescence/5x4", 3, 5, 4, dtype, pixel_size)
    store.write_stack(stack, lambda row: random_images((5, 4), dtype, row), 2)
    path = tmp_path / "s.zarr" / "fluorescence" / "5x4"
    check_valid(path)
    multiscale = zarr.open_group(path, mode="r").attrs["ome"]["multiscales"][0]
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    assert multiscale["axes"] == [
        {"name": "n"},
        {"name": "y", "type": "space", **unit},
        {"name": "x", "type": "space", **unit},
    ]
    scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [1.0, pixel_size or 1.0, pixel_size or 1.0]
    assert store.read_pixel_size(tmp_path / "s.zarr", "fluorescence/5x4") == pixel_size


def test_store_lists_its_arrays(tmp_path):
    store.create_store(tmp_path / "s.zarr", {"transforms": ["e", "r"]})
    store.create_stack(tmp_path / "s.zarr", "r/m/2x3", 1, 2, 3, "bool")
    store.create_store(tmp_path / "s.zarr", {"more": 1})
    assert store.store_attributes(tmp_path / "s.zarr") == {"transforms": ["e", "r"], "more": 1}
    assert store.store_attributes(tmp_path / "none.zarr") == {}
    groups = [name for name, _ in zarr.open_group(tmp_path / "s.zarr", mode="r").members(max_depth=None)]
    assert set(groups) == {"r", "r/m", "r/m/2x3", "r/m/2x3/0"}


def test_create_replaces_what_was_there(tmp_path):
    for count in (4, 2):
        stack = store.create_stack(tmp_path / "s.zarr", "m/2x2", count, 2, 2, "uint8")
        store.write_stack(stack, lambda row: np.full((2, 2), row + 1, np.uint8), 1)
    assert store.open_stack(tmp_path / "s.zarr", "m/2x2").shape == (2, 2, 2)


@pytest.mark.parametrize("array", ["../m/2x2", "m//2x2", "/m", "m/.x", ""])
def test_create_refuses_paths(tmp_path, array):
    with pytest.raises(ValueError, match="cannot be a path"):
        store.create_stack(tmp_path / "s.zarr", array, 1, 2, 2, "uint8")


def test_shards_larger_than_dasks_blocks(tmp_path, monkeypatch):
    # dask's to_zarr cuts blocks by this setting and then loses pixels of shards that two tasks write.
    images = random_images((24, 16, 16), "uint16")
    monkeypatch.setattr(store, "SHARD_BYTES", 8 * images[0].nbytes)
    stack = store.create_stack(tmp_path / "s.zarr", "m/16x16", 24, 16, 16, "uint16")
    with dask.config.set({"array.chunk-size": 3 * images[0].nbytes}):
        store.write_stack(stack, lambda row: images[row], 3)
    np.testing.assert_array_equal(stack[:], images)


def test_each_row_is_read_once_and_few_shards_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 2 * 16)
    stack = store.create_stack(tmp_path / "s.zarr", "m/4x4", 20, 4, 4, "uint8")
    lock, open_shards, most, rows = threading.Lock(), set(), 0, []
    write = type(stack).__setitem__

    def read(row):
        nonlocal most
        with lock:
            rows.append(row)
            open_shards.add(row // 2)
            most = max(most, len(open_shards))
        return np.full((4, 4), row, np.uint8)

    def write_and_count(array, selection, value):
        write(array, selection, value)
        with lock:
            open_shards.discard(selection.start // 2)

    monkeypatch.setattr(type(stack), "__setitem__", write_and_count)
    store.write_stack(stack, read, workers=2)
    assert sorted(rows) == list(range(20))
    assert 1 <= most <= 2


def test_damage_is_noticed(tmp_path, monkeypatch):
    stack = store.create_stack(tmp_path / "s.zarr", "m/4x4", 3, 4, 4, "uint8")
    write = type(stack).__setitem__

    def damage(array, selection, value):
        value = value.copy()
        value[1, 2, 3] += 1
        write(array, selection, value)

    monkeypatch.setattr(type(stack), "__setitem__", damage)
    with pytest.raises(RuntimeError, match="row 1 was not stored as it was read"):
        store.write_stack(stack, lambda row: np.full((4, 4), row, np.uint8), 1)
    with pytest.raises(RuntimeError, match="row 1 was not stored"):
        store.write_rows(stack, 0, np.ones((3, 4, 4), np.uint8))


@pytest.mark.parametrize("image", [np.zeros((4, 5), np.uint8), np.zeros((4, 4), np.uint16)])
def test_write_stack_refuses_other_images(tmp_path, image):
    stack = store.create_stack(tmp_path / "s.zarr", "m/4x4", 3, 4, 4, "uint8")
    with pytest.raises(ValueError, match=r"row \d is"):
        store.write_stack(stack, lambda row: image, 1)


def test_write_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 3 * 16)
    images = random_images((8, 4, 4), "bool")
    stack = store.create_stack(tmp_path / "s.zarr", "m/4x4", 8, 4, 4, "bool")
    for start, stop in ((6, 8), (0, 6)):
        store.write_rows(stack, start, images[start:stop])
    np.testing.assert_array_equal(stack[:], images)
    check_valid(tmp_path / "s.zarr" / "m" / "4x4")


@pytest.mark.parametrize(
    ("start", "shape", "dtype", "message"),
    [
        (1, (2, 4, 4), "uint8", "not whole shards"),
        (0, (2, 4, 4), "uint8", "not whole shards"),
        (4, (3, 4, 4), "uint8", "not whole shards"),
        (6, (3, 4, 4), "uint8", "does not fit"),
        (0, (0, 4, 4), "uint8", "does not fit"),
        (0, (3, 4, 5), "uint8", "does not fit"),
        (0, (3, 4, 4), "bool", "does not fit"),
    ],
)
def test_write_rows_refuses_parts_of_shards(tmp_path, monkeypatch, start, shape, dtype, message):
    monkeypatch.setattr(store, "SHARD_BYTES", 3 * 16)
    stack = store.create_stack(tmp_path / "s.zarr", "m/4x4", 8, 4, 4, "uint8")
    with pytest.raises(ValueError, match=message):
        store.write_rows(stack, start, np.zeros(shape, dtype))


def test_opening_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none.zarr does not exist"):
        store.open_stack(tmp_path / "none.zarr", "m/2x2")
    store.create_stack(tmp_path / "s.zarr", "m/2x2", 1, 2, 2, "uint8")
    with pytest.raises(InputError, match=r"has no array 'm/3x3'"):
        store.open_stack(tmp_path / "s.zarr", "m/3x3")
    with pytest.raises(InputError, match="has no array 'm'"):
        store.open_stack(tmp_path / "s.zarr", "m")


def test_reading_rows(tmp_path):
    stack = store.create_stack(tmp_path / "s.zarr", "m/2x2", 2, 2, 2, "uint8")
    store.write_stack(stack, lambda row: np.full((2, 2), row, np.uint8), 1)
    assert store.read_row(tmp_path / "s.zarr" / "m" / "2x2", 1).tolist() == [[1, 1], [1, 1]]
    with pytest.raises(IndexError):
        store.read_row(stack, 2)
    with pytest.raises(IndexError):
        store.read_row(stack, -1)
    read_only = store.open_stack(tmp_path / "s.zarr", "m/2x2")
    with pytest.raises(ValueError, match="read-only"):
        read_only[0] = 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, 39), max_size=60), workers=st.integers(1, 3))
def test_rows_come_in_the_order_asked_for(tmp_path, rows, workers):
    if not (tmp_path / "a").exists():
        stack = store.create_stack(tmp_path, "a", 40, 3, 4, "uint16")
        stack[:] = np.arange(40 * 12, dtype=np.uint16).reshape(40, 3, 4)
    stack = store.open_stack(tmp_path, "a")
    for row, image in zip(rows, store.read_rows(stack, rows, workers), strict=True):
        np.testing.assert_array_equal(image, np.arange(12).reshape(3, 4) + 12 * row)
