"""A plate segmented: every nucleus once, whatever the tiles and fields, and the same bytes after an interruption."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import zarr

from equinuclei.checksums import tree_sha256
from equinuclei.errors import InputError, StoppedError, UnavailableError
from equinuclei.images.instances import parted_nuclei
from equinuclei.inference.nuclei import segment_image
from equinuclei.inference.tiling import flipped_pixels, predict_mosaic
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.folding import fold
from equinuclei.networks.targets import target_of
from equinuclei.omezarr.plates import Plate
from equinuclei.plates import segment as plate_segmentation
from equinuclei.plates.convert import PlateExport, convert_plate
from equinuclei.plates.measure import measure_plate
from equinuclei.plates.quality import plate_warnings
from equinuclei.plates.segment import SegmentationSettings, join_parts, segment_plate
from equinuclei.plates.stops import telling_stops
from equinuclei.runtime.finished import made_from
from equinuclei.simulation.fields import simulate_field
from equinuclei.specs import TARGETS
from support.faulty_files import OPENING, failing
from support.tiny_model import tiny_weights


@pytest.fixture(autouse=True)
def torch_as_it_was():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def put_plate(folder, fields, channel="DAPI"):
    """A converted plate of pixels by (well, field, y0, x0)."""
    source = folder / "source"
    source.mkdir(parents=True)
    rows = []
    for number, ((well, field, y, x), pixels) in enumerate(fields.items()):
        tifffile.imwrite(source / f"{number}.tif", pixels)
        rows.append(
            {"well": well, "field": field, "channel": channel, "path": f"{number}.tif", "y": y, "x": x, "pixel_size": 1}
        )
    pd.DataFrame(rows).to_csv(source / "planes.tsv", sep="\t", index=False)
    export = PlateExport(source)
    convert_plate(export, folder / "plate.ome.zarr", folder / "fields.parquet", workers=1, max_bad_fraction=1)
    return folder


def segment(folder, name="segmentation.ome.zarr", target="binary", weights=None, part=(0, 1), **more):
    settings = SegmentationSettings(**{"channel": None, "min_area": 5} | more)
    output, weights = folder / name, weights or tiny_weights(target)
    segment_plate(folder / "plate.ome.zarr", folder / "fields.parquet", weights, output, settings, part)
    return output


def labels_of(store, well):
    return Plate(store).image(well).label("nuclei").read()


def simulated(wells, edge=2, size=96):
    fields = {}
    for number, well in enumerate(wells):
        image = simulate_field("HeLa", [7, number], edge * size, edge * size).images["fluorescence"]
        for index in range(edge * edge):
            y, x = (size * part for part in divmod(index, edge))
            fields[well, index + 1, y, x] = image[y : y + size, x : x + size]
    return fields


@pytest.fixture
def bright_is_nucleus(monkeypatch):
    """A network that says nucleus where a pixel is bright, so that the truth is known."""

    def predict(network, image, *, valid, tile, device, magnification):
        return np.where(valid & (np.asarray(image) > 100), 5.0, -5.0).astype(np.float32)[np.newaxis]

    monkeypatch.setattr(plate_segmentation, "predict_mosaic", predict)


def disc(image, y, x, radius=8):
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 1000
    return image


@pytest.mark.parametrize("overlap", [0, 24])
def test_nuclei_at_seams_are_counted_once(tmp_path, bright_is_nucleus, overlap):
    """Nuclei in the overlap of two fields, and across their seam, are one nucleus each."""
    well = np.full((100, 200 - overlap), 10, np.uint16)
    places = [(20, 30), (50, 100 - overlap // 2), (80, 100 - overlap), (50, 170 - overlap), (20, 100)]
    for place in places:
        disc(well, *place)
    fields = {("B02", 1, 0, 0): well[:, :100], ("B02", 2, 0, 100 - overlap): well[:, 100 - overlap :]}
    folder = put_plate(tmp_path, fields)
    store = segment(folder)
    labels = labels_of(store, "B02")
    assert labels.max() == len(places) and np.array_equal(labels > 0, well > 100)
    measure_plate(
        folder / "plate.ome.zarr", folder / "fields.parquet", store, channel=None,
        nuclei_table=folder / "n.parquet", fields_table=folder / "f.tsv", wells_table=folder / "w.tsv",
    )  # fmt: skip
    nuclei = pd.read_parquet(folder / "n.parquet")
    by_field = pd.read_csv(folder / "f.tsv", sep="\t").set_index("field")["count"]
    assert len(nuclei) == len(places) == by_field.sum() == pd.read_csv(folder / "w.tsv", sep="\t")["count"].sum()
    found = sorted((round(row.y), round(row.x)) for row in nuclei.itertuples())
    assert found == sorted(places)


def test_wells_are_scored_for_what_a_person_should_look_at(tmp_path, bright_is_nucleus):
    dark = np.full((60, 60), 10, np.uint16) + np.arange(60, dtype=np.uint16) % 5
    fields = {("A01", 1, 0, 0): disc(dark.copy(), 30, 30), ("A01", 2, 0, 60): dark, ("A02", 1, 0, 0): dark}
    folder = put_plate(tmp_path, fields)
    measure_plate(
        folder / "plate.ome.zarr", folder / "fields.parquet", segment(folder), channel=None,
        nuclei_table=folder / "n.parquet", fields_table=folder / "f.tsv", wells_table=folder / "w.tsv",
    )  # fmt: skip
    wells = pd.read_csv(folder / "w.tsv", sep="\t").set_index("well")
    assert wells["empty_fields"].to_dict() == {"A01": 0.5, "A02": 1} and wells["count"].to_dict() == {
        "A01": 1,
        "A02": 0,
    }
    assert wells["contrast"]["A01"] > 100 and np.isnan(wells["contrast"]["A02"])
    assert wells["mean_probability"]["A01"] > 0.99 and np.isnan(wells["mean_probability"]["A02"])


def test_where_fields_differ_in_their_overlap_the_lowest_number_wins(tmp_path, bright_is_nucleus):
    first, second = (np.full((60, 60), 10, np.uint16) for _ in range(2))
    disc(first, 30, 50)
    disc(second, 30, 20)  # the sample moved: at another place in the overlap of columns 30 to 59
    store = segment(put_plate(tmp_path, {("A01", 2, 0, 30): second, ("A01", 1, 0, 0): first}))
    labels = labels_of(store, "A01")
    assert labels[30, 45] == labels[30, 55] > 0 and labels.max() == 1
    assert np.array_equal(labels[:, :60] > 0, first > 100)


@pytest.mark.parametrize("target", TARGETS)
def test_tiles_change_no_label(tmp_path, target):
    folder = put_plate(tmp_path, simulated(["A01"], edge=4))
    whole, tiled = segment(folder, target=target), segment(folder, "tiled.ome.zarr", target=target, tile=256)
    assert labels_of(whole, "A01").max() > 20
    probabilities = [Plate(store).image("A01").level(0)[0].astype(int) for store in (whole, tiled)]
    assert np.abs(probabilities[0] - probabilities[1]).max() <= 1
    assert np.array_equal(labels_of(whole, "A01"), labels_of(tiled, "A01"))
    assert flipped_pixels(*(p.astype(np.float32) - 127.5 for p in probabilities)) == 0


@pytest.mark.parametrize("target", TARGETS)
def test_nuclei_are_those_of_the_target_of_the_network(tmp_path, target):
    image = simulate_field("HeLa", 7, 96, 96).images["fluorescence"]
    store = segment(put_plate(tmp_path, {("A01", 1, 0, 0): image}), target=target, min_area=0)
    maps = predict_mosaic(fold(load_model(tiny_weights(target))), image)
    np.testing.assert_array_equal(labels_of(store, "A01"), parted_nuclei(target_of(target).codes(maps), target))
    probability = np.rint(255 * target_of(target).probability(maps)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(Plate(store).image("A01").level(0)[0]), probability)
    assert labels_of(store, "A01").any()


def test_holes_are_filled_and_cut_nuclei_left_out_where_the_settings_say_so(tmp_path, bright_is_nucleus):
    image = disc(disc(np.full((60, 90), 10, np.uint16), 30, 30), 0, 70)
    image[30, 30] = 10
    folder = put_plate(tmp_path, {("A01", 1, 0, 0): image})
    assert labels_of(segment(folder), "A01").max() == 2 and labels_of(segment(folder), "A01")[30, 30] == 0
    cleaned = labels_of(segment(folder, "cleaned.ome.zarr", fill_holes=True, exclude_border=True), "A01")
    assert cleaned.max() == 1 and cleaned[30, 30] == 1 and not cleaned[:, 60:].any()


def test_a_field_without_image_and_a_well_without_any_have_no_nuclei(tmp_path, bright_is_nucleus):
    image = disc(np.full((60, 60), 10, np.uint16), 30, 30)
    fields = {("A01", 1, 0, 0): image, ("A01", 2, 0, 60): image, ("A02", 1, 0, 0): image}
    folder = put_plate(tmp_path, fields)
    table = pd.read_parquet(folder / "fields.parquet")
    table.loc[(table["well"] == "A02") | (table["field"] == 2), "status"] = "truncated"
    table.to_parquet(folder / "fields.parquet", index=False)
    store = segment(folder)
    assert labels_of(store, "A01").max() == 1 and not labels_of(store, "A01")[:, 60:].any()
    assert labels_of(store, "A02").max() == 0 and Plate(store).wells == ["A01", "A02"]


def test_killed_and_run_again_gives_the_same_bytes(tmp_path):
    """A job that the scheduler kills amid a well leaves nothing that counts as whole."""
    folder = put_plate(tmp_path, simulated(["A01", "B02", "C03"]))
    killed = """
import os, signal, sys, zarr
from equinuclei.plates.quality import plate_warnings
from equinuclei.plates.segment import SegmentationSettings, segment_plate
write, written = zarr.Array.__setitem__, []
def stop(array, region, block):
    write(array, region, block)
    written.append(region)
    if len(written) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
zarr.Array.__setitem__ = stop
folder, weights = sys.argv[1:]
segment_plate(folder + "/plate.ome.zarr", folder + "/fields.parquet", weights, folder + "/segmentation.ome.zarr",
              SegmentationSettings(channel=None, min_area=5))
"""
    scripts = Path(plate_segmentation.__file__).parents[2]
    command = [sys.executable, "-W", "ignore", "-c", killed, str(folder), str(tiny_weights())]
    assert subprocess.run(command, cwd=scripts, check=False).returncode == -9
    (work,) = folder.glob(".segmentation.ome.zarr.work-*")
    assert sorted(path.name for path in work.glob("*/.done-*")) == [".done-A01", ".done-plate"]
    again, whole = segment(folder), segment(folder, "whole.ome.zarr")
    assert tree_sha256(again) == tree_sha256(whole) and not list(folder.glob(".*"))


def test_finished_wells_are_not_predicted_again(tmp_path, monkeypatch):
    folder = put_plate(tmp_path, simulated(["A01", "B02", "C03"], edge=1))
    predicted = []
    original = plate_segmentation.predict_mosaic

    def stop_at_third(*arguments, **more):
        predicted.append(1)
        if len(predicted) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **more)

    monkeypatch.setattr(plate_segmentation, "predict_mosaic", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        segment(folder)
    segment(folder)
    assert len(predicted) == 4 and not (folder / "segmentation.ome.zarr" / ".done-A01").exists()


def test_an_old_segmentation_is_not_taken_for_that_of_other_weights_or_pixels(tmp_path, caplog):
    """As when somebody copies one back while the job starts; and a plate whose images came anew has the same table."""
    fields = simulated(["A01"], edge=1)
    folder = put_plate(tmp_path / "a", fields)
    old = tree_sha256(segment(folder))
    new = segment(folder, weights=tiny_weights("distance"))
    (kept,) = folder.glob("segmentation.ome.zarr.replaced-*")
    assert tree_sha256(kept) == old != tree_sha256(new) and kept.name in caplog.text
    before = made_from(new)
    zarr.open_group(folder / "plate.ome.zarr", mode="r+").attrs["equinuclei"] = {"key": "of images that came anew"}
    assert made_from(segment(folder, weights=tiny_weights("distance")))["key"] != before["key"]


def test_an_old_part_without_wells_now_is_moved_aside(tmp_path):
    folder = put_plate(tmp_path, simulated(["A01", "B02"], edge=1))
    segment(folder, "1.ome.zarr", part=(1, 2))
    assert Plate(folder / "1.ome.zarr").wells == ["B02"]
    parts = [segment(folder, f"{number}.ome.zarr", part=(number, 3)) for number in (0, 1, 2)]
    assert not (parts[2] / "zarr.json").exists() and len(list(folder.glob("1.ome.zarr.replaced-*"))) == 1
    join_parts(folder / "plate.ome.zarr", parts, folder / "joined.ome.zarr")
    whole = made_from(folder / "joined.ome.zarr")["key"]
    # Parts made anew, in the same places, make another whole.
    again = [segment(folder, f"{n}.ome.zarr", part=(n, 3), weights=tiny_weights("distance")) for n in (0, 1)]
    with pytest.raises(InputError, match="made with different weights, settings or fields"):
        join_parts(folder / "plate.ome.zarr", [*again, parts[2]], folder / "joined.ome.zarr")
    again.append(segment(folder, "2.ome.zarr", part=(2, 3), weights=tiny_weights("distance")))
    join_parts(folder / "plate.ome.zarr", again, folder / "joined.ome.zarr")
    assert made_from(folder / "joined.ome.zarr")["key"] != whole


def test_a_plate_whose_mark_is_broken_is_begun_again_as_a_whole(tmp_path, monkeypatch, caplog):
    """Its wells go with it, and so do their marks."""
    folder = put_plate(tmp_path, simulated(["A01", "B02"], edge=1))
    original = plate_segmentation.predict_mosaic

    def stop_at_second(*arguments, predicted=[], **more):  # noqa: B006 (it counts)
        predicted.append(1)
        if len(predicted) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(plate_segmentation, "predict_mosaic", stop_at_second)
        segment(folder)
    (mark,) = folder.glob(".segmentation.ome.zarr.work-*/*/.done-plate")
    mark.write_text("")
    assert tree_sha256(segment(folder)) == tree_sha256(segment(folder, "whole.ome.zarr"))
    assert ".done-plate: this mark of finished work is broken" in caplog.text


def test_an_absent_channel_is_reported_before_any_work(tmp_path):
    folder = put_plate(tmp_path, simulated(["A01"], edge=1), channel="DAPI")
    with pytest.raises(InputError, match=r"unknown channel of .*'GFP'\. Known: DAPI"):
        segment(folder, channel="GFP")
    assert sorted(path.name for path in folder.iterdir()) == [
        "fields.parquet", "planes.parquet", "plate.ome.zarr", "source",
    ]  # fmt: skip


def test_the_plate_is_not_touched(tmp_path):
    folder = put_plate(tmp_path, simulated(["A01"], edge=1))
    before = tree_sha256(folder / "plate.ome.zarr")
    segment(folder)
    assert tree_sha256(folder / "plate.ome.zarr") == before


def test_a_well_does_not_depend_on_the_other_wells(tmp_path):
    """All arrays of a plate are as large as its largest mosaic; a smaller one is predicted as if it were alone."""
    small = simulated(["A01"], edge=1, size=100)
    alone = put_plate(tmp_path / "alone", small)
    beside = put_plate(tmp_path / "beside", small | simulated(["A02"], edge=2, size=100))
    beside_plate = Plate(beside / "plate.ome.zarr")
    shapes = {beside_plate.image(well).level(0).shape for well in ("A01", "A02")}
    assert shapes == {(1, 200, 200)}
    stores = segment(alone), segment(beside)
    assert np.array_equal(labels_of(stores[0], "A01"), labels_of(stores[1], "A01")[:100, :100])
    assert labels_of(stores[0], "A01").max() > 1 and not labels_of(stores[1], "A01")[100:].any()
    probabilities = [np.asarray(Plate(store).image("A01").level(0)[0, :100, :100]) for store in stores]
    assert np.array_equal(*probabilities)


def measure(folder, store, channel=None):
    tables = {"nuclei_table": folder / "n.parquet", "fields_table": folder / "f.tsv", "wells_table": folder / "w.tsv"}
    measure_plate(folder / "plate.ome.zarr", folder / "fields.parquet", store, channel=channel, **tables)
    nuclei = pd.read_parquet(tables["nuclei_table"])
    return nuclei, *(pd.read_csv(tables[name], sep="\t") for name in ("fields_table", "wells_table"))


def test_every_time_point_has_its_nuclei(tmp_path, bright_is_nucleus):
    """An axis t in images and labels, a column `time` in the tables; a field that is bad at one time is so alone."""
    (tmp_path / "source").mkdir()
    rows = []
    for t, count in enumerate((1, 3, 2)):
        for field in (1, 2):
            pixels = np.full((60, 90), 10, np.uint16)
            for number in range(count):
                disc(pixels, 30, 15 + 30 * number)
            path = tmp_path / "source" / f"{t}_{field}.tif"
            tifffile.imwrite(path, pixels)
            place = {"y": 0, "x": 100 * field, "pixel_size": 1}
            rows.append({"well": "A01", "field": field, "channel": "DAPI", "path": path.name, "t": t, **place})
    (tmp_path / "source" / "1_2.tif").write_bytes(b"II*\0")
    pd.DataFrame(rows).to_csv(tmp_path / "source" / "planes.tsv", sep="\t", index=False)
    export = PlateExport(tmp_path / "source", t="all")
    convert_plate(export, tmp_path / "plate.ome.zarr", tmp_path / "fields.parquet", workers=1, max_bad_fraction=1)
    nuclei, fields, wells = measure(tmp_path, store := segment(tmp_path))
    assert Plate(store).image("A01").label("nuclei").level(0).shape[0] == 3
    assert nuclei.groupby("time").size().to_dict() == {0: 2, 1: 3, 2: 4}
    assert list(nuclei.columns[:3]) == ["plate", "well", "time"]
    assert wells[["time", "count", "failed_fields"]].to_numpy().tolist() == [[0, 2, 0], [1, 3, 0.5], [2, 4, 0]]
    assert fields["count"].tolist() == [1, 1, 3, 0, 2, 2] and (fields["status"] != "ok").sum() == 1


def test_a_plate_may_begin_with_an_empty_well(tmp_path, bright_is_nucleus):
    empty = np.full((40, 40), 10, np.uint16)
    folder = put_plate(tmp_path, {("A01", 1, 0, 0): empty, ("A02", 1, 0, 0): disc(empty.copy(), 20, 20)})
    nuclei, _, wells = measure(folder, segment(folder))
    assert nuclei["well"].tolist() == ["A02"] and wells["count"].tolist() == [0, 1]


def test_a_nuclear_stain_at_the_end_has_nuclei_then_alone(tmp_path, bright_is_nucleus):
    (tmp_path / "source").mkdir()
    rows = []
    for channel, times in (("GFP", (0, 1, 2)), ("DAPI", (2,))):
        for t in times:
            path = tmp_path / "source" / f"{channel}{t}.tif"
            tifffile.imwrite(path, disc(np.full((60, 90), 10, np.uint16), 30, 40))
            rows.append({"well": "A01", "field": 1, "channel": channel, "path": path.name, "t": t})
    pd.DataFrame(rows).to_csv(tmp_path / "source" / "planes.tsv", sep="\t", index=False)
    export = PlateExport(tmp_path / "source", t="all")
    convert_plate(export, tmp_path / "plate.ome.zarr", tmp_path / "fields.parquet", workers=1)
    nuclei, fields, wells = measure(tmp_path, segment(tmp_path, channel="DAPI"), channel="DAPI")
    assert nuclei["time"].tolist() == [2] and nuclei["mean_DAPI"].tolist() == [1000]
    assert wells[["time", "count", "fields"]].to_numpy().tolist() == [[0, 0, 0], [1, 0, 0], [2, 1, 1]]
    assert fields["time"].tolist() == [2] and plate_warnings(wells.fillna({"focus": 0})).empty


def test_a_folder_of_images_is_segmented_image_by_image(tmp_path):
    """As `equinuclei segment` does: each with its own brightness and size of nuclei, whatever lies beside it."""
    (tmp_path / "source").mkdir()
    images = [simulate_field("HeLa", [7, n], 96, 128).images["fluorescence"] for n in range(3)]
    images[1] = images[1] // 8
    for number, image in enumerate(images):
        tifffile.imwrite(tmp_path / "source" / f"{number}.tif", image)
    export = PlateExport(tmp_path / "source", "folder")
    convert_plate(export, tmp_path / "plate.ome.zarr", tmp_path / "fields.parquet", workers=1)
    nuclei, _, _ = measure(tmp_path, segment(tmp_path, min_area=20))
    network = fold(load_model(tiny_weights("binary"))).eval()
    alone = [segment_image(network, image, min_area=20).labels.max() for image in images]
    assert sum(alone) > 3 and sorted(nuclei.groupby(["well", "field"]).size()) == sorted(alone)


@pytest.mark.parametrize("damage", ["chunk", "pixels"])
def test_pixels_that_changed_since_they_were_written_are_reported(tmp_path, damage):
    """A page says that the raw folder may be deleted: only if the plate holds what was read from there."""
    folder = put_plate(tmp_path, simulated(["A01"], edge=1))
    store = segment(folder)
    (shard,) = (folder / "plate.ome.zarr/A/01/0/0").rglob("c/0/0/0")
    if damage == "chunk":
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 0xFF
        shard.write_bytes(content)
    else:
        array = Plate(folder / "plate.ome.zarr").image("A01").level(0, mode="r+")
        array[0, 3, 4] = array[0, 3, 4] + 1
    tables = {"nuclei_table": folder / "n.parquet", "fields_table": folder / "f.tsv", "wells_table": folder / "w.tsv"}
    with pytest.raises(InputError, match="the pixels of well A01 are not those that were written"):
        measure_plate(folder / "plate.ome.zarr", folder / "fields.parquet", store, channel=None, **tables)
    assert not any(path.exists() for path in tables.values())


@pytest.mark.parametrize("ledger", ["away", "of another plate"])
def test_without_its_ledger_no_plate_is_measured(tmp_path, ledger):
    """The page would say that all pixels were compared."""
    folder = put_plate(tmp_path, simulated(["A01"], edge=1))
    store, path = segment(folder), folder / "planes.parquet"
    content = path.read_bytes()
    if ledger == "away":
        path.unlink()
    else:
        path.write_bytes(content + b"x")
    with pytest.raises(StoppedError, match=r"planes\.parquet is not there, or not the one that was written"):
        measure(folder, store)
    path.write_bytes(content)
    measure(folder, store)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_pixels_that_cannot_be_read_now_are_not_damaged(tmp_path, number):
    """Nobody is told to remove a plate whose raw folder may be gone."""
    folder = put_plate(tmp_path, simulated(["A01"], edge=1))
    store = segment(folder)
    (shard,) = (folder / "plate.ome.zarr/A/01/0/0").rglob("c/0/0/0")
    with (
        failing(shard, number=number, calls=OPENING),
        pytest.raises(UnavailableError) as raised,
        telling_stops(tmp_path, "P1", "measure_plate"),
    ):
        measure(folder, store)
    assert os.strerror(number) in str(raised.value) and "remove" not in str(raised.value)
    measure(folder, store)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_parts_make_the_plate_that_one_job_makes(tmp_path, count):
    folder = put_plate(tmp_path, simulated(["A01", "B02", "C03"], edge=1))
    parts = [segment(folder, f"{number}.ome.zarr", part=(number, count)) for number in range(count)]
    for part in parts:
        (part / ".snakemake_timestamp").touch()
    joined = folder / "joined.ome.zarr"
    join_parts(folder / "plate.ome.zarr", parts, joined)
    assert tree_sha256(joined) == tree_sha256(segment(folder, "whole.ome.zarr"))
    if count == 2:
        assert [Plate(part).wells for part in parts] == [["A01", "C03"], ["B02"]]


def test_a_well_that_no_part_holds_is_reported(tmp_path):
    folder = put_plate(tmp_path, simulated(["A01", "B02"], edge=1))
    part = segment(folder, "0.ome.zarr", part=(0, 2))
    with pytest.raises(InputError, match="no part holds well B02"):
        join_parts(folder / "plate.ome.zarr", [part], folder / "joined.ome.zarr")
    assert not (folder / "joined.ome.zarr").exists()


def test_parts_of_different_magnification_are_not_joined(tmp_path):
    folder = put_plate(tmp_path, simulated(["A01", "B02"], edge=1))
    parts = [segment(folder, f"{number}.ome.zarr", part=(number, 2)) for number in range(2)]
    zarr.open_group(parts[1], mode="r+").attrs["equinuclei"] = {"nucleus_diameter": 30.0, "magnification": 0.8}
    with pytest.raises(InputError, match=r"took nuclei for different sizes.*set `plates: \{diameter: \.\.\.\}`"):
        join_parts(folder / "plate.ome.zarr", parts, folder / "joined.ome.zarr")
    assert not (folder / "joined.ome.zarr").exists()


def test_a_plate_is_magnified_to_the_size_that_the_model_knows(tmp_path):
    small = simulated(["A01", "B02", "C03"])
    fields = {
        (well, f, 3 * y, 3 * x): np.kron(image, np.ones((3, 3), image.dtype))
        for (well, f, y, x), image in small.items()
    }
    folder, weights = put_plate(tmp_path, fields), tiny_weights("distance", diameter=24)
    truths = put_plate(tmp_path / "small", small)
    expected = segment(truths, weights=weights)
    assert Plate(expected).notes["magnification"] == 1
    made = {
        diameter: segment(folder, f"{diameter}.ome.zarr", weights=weights, diameter=diameter)
        for diameter in ("estimated", 66.0, None)
    }
    notes = {diameter: Plate(plate).notes for diameter, plate in made.items()}
    assert notes["estimated"]["nucleus_diameter"] == pytest.approx(66, rel=0.25)
    assert notes["estimated"]["magnification"] == pytest.approx(1 / 3, rel=0.25)
    known = {"channel": "DAPI", "modality": "", "model_diameter": 24}
    assert notes[66.0] == {"nucleus_diameter": 66, "magnification": 0.36} | known
    assert notes[None] == {"nucleus_diameter": None, "magnification": 1} | known
    assert set(notes["estimated"]["sampled_diameters"]) == {"A01", "B02", "C03"}
    count, *counts = (
        sum(int(labels_of(plate, well).max()) for well in ("A01", "B02", "C03")) for plate in (expected, *made.values())
    )
    assert max(abs(counts[0] - count), abs(counts[1] - count)) <= 0.15 * count < abs(counts[2] - count)
    parts = [segment(folder, f"part{n}.ome.zarr", weights=weights, part=(n, 2)) for n in range(2)]
    join_parts(folder / "plate.ome.zarr", parts, folder / "joined.ome.zarr")
    assert tree_sha256(folder / "joined.ome.zarr") == tree_sha256(made["estimated"])
    with pytest.raises(InputError, match="no preferred size"):
        segment(folder, "refused.ome.zarr", diameter=30.0)
