"""Plates converted: every pixel is where it belongs, bad images are reported, and an interruption costs nothing."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from equinuclei.checksums import tree_sha256
from equinuclei.errors import InputError, StoppedError, UnavailableError
from equinuclei.omezarr import blocks as plate_blocks
from equinuclei.omezarr.metadata import NGFF_VERSIONS
from equinuclei.omezarr.plates import Plate
from equinuclei.plates import convert as plate_conversion
from equinuclei.plates import field_images
from equinuclei.plates.convert import PLATE_FIELDS_COLUMNS, PlateExport, convert_plate
from equinuclei.plates.raw_folder import RawFolder
from equinuclei.sources.plates import choose_planes, find_plate_source, read_plane
from support.faulty_files import LISTING, LOOKING, OPENING, failing
from support.omezarr import check_valid
from support.plate_exports import (
    random_image,
    write_cellvoyager,
    write_columbus,
    write_harmony,
    write_metaxpress,
    write_table,
)

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "plates"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real plates are not at {DATA}")


def convert(source: dict, folder: Path, **more: object) -> tuple[Path, pd.DataFrame]:
    output, fields = folder / "plate.ome.zarr", folder / "fields.parquet"
    convert_plate(PlateExport(**source), output, fields, workers=2, **more)
    table = pd.read_parquet(fields)
    assert list(table.columns) == PLATE_FIELDS_COLUMNS
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []
    return output, table


def check_pixels(source: dict, output: Path, table: pd.DataFrame) -> None:
    """Every pixel of the source is read back, the lowest field number winning; everything else is 0."""
    planes = choose_planes(
        find_plate_source(source["path"], source.get("layout")), source.get("channels"), source.get("z")
    )
    grouped = dict(list(planes.groupby(["well", "field", "channel"])))
    assert set(grouped) <= set(table[["well", "field", "channel"]].itertuples(index=False, name=None))
    for well in Plate(output).wells:
        stored = Plate(output).image(well).level(0)[:]
        expected = np.zeros_like(stored)
        for row in table[table["well"] == well].sort_values("field", ascending=False).itertuples():
            if row.status != "ok":
                continue
            stack = np.stack([read_plane(p.path, p.page) for p in grouped[well, row.field, row.channel].itertuples()])
            image = np.rint(stack.mean(axis=0)) if source.get("z") == "mean" else stack.max(axis=0)
            channel = Plate(output).image(well).channels.index(row.channel)
            expected[channel, row.y0 : row.y0 + row.height, row.x0 : row.x0 + row.width] = image
        np.testing.assert_array_equal(stored, expected)
        listed = Plate(output).field_table(well)
        placed = table[table["well"] == well].drop_duplicates("field")[list(listed.columns)].reset_index(drop=True)
        pd.testing.assert_frame_equal(listed, placed)


EXPORTS = {
    "harmony": (write_harmony, ""),
    "columbus": (write_columbus, ""),
    "metaxpress": (write_metaxpress, ""),
    "cellvoyager": (write_cellvoyager, ""),
    "table": (write_table, "plate.tsv"),
}


class TestConvert:
    @pytest.mark.parametrize("version", NGFF_VERSIONS)
    @pytest.mark.parametrize("layout", EXPORTS)
    def test_every_pixel(self, tmp_path, layout, version):
        write, name = EXPORTS[layout]
        write(tmp_path / "in")
        source = {"path": str(tmp_path / "in" / name)}
        output, table = convert(source, tmp_path / "out", ngff_version=version)
        assert set(table["status"]) == {"ok"}
        check_pixels(source, output, table)
        check_valid(output)
        assert Plate(output).ngff_version == version

    def test_from_ome_zarr(self, tmp_path):
        write_harmony(tmp_path / "in", planes=2)
        first, _ = convert({"path": str(tmp_path / "in")}, tmp_path / "one")
        second, _ = convert({"path": str(first)}, tmp_path / "two", ngff_version="0.4")
        for well in Plate(first).wells:
            np.testing.assert_array_equal(Plate(first).image(well).level(0)[:], Plate(second).image(well).level(0)[:])
            assert Plate(second).image(well).pixel_size == 0.5

    def test_folder_of_images(self, tmp_path):
        names = ["a b.tif", "it's.tif", "x;y.tif", "$(touch z).tif", "Zürich µm.tif", '"q".tif', "..tif"]
        (tmp_path / "in put").mkdir()
        for seed, name in enumerate(names):
            tifffile.imwrite(tmp_path / "in put" / name, random_image(seed, dtype="uint8"))
        source = {"path": str(tmp_path / "in put")}
        output, table = convert(source, tmp_path / "out $(x)")
        # The hidden "..tif" is left out.
        assert len(table) == 6 and set(table["status"]) == {"ok"}
        check_pixels(source, output, table)
        assert Plate(output).image("A01").level(0).dtype == np.uint8
        assert Plate(output).image("A01").pixel_size is None
        check_valid(output)

    @pytest.mark.parametrize("z", [None, 0, 1, "max", "mean"])
    def test_planes_and_projections(self, tmp_path, z):
        write_cellvoyager(tmp_path / "in", planes=3)
        source = {"path": str(tmp_path / "in"), "channels": ["Dye"], "z": z}
        output, table = convert(source, tmp_path / "out")
        assert set(table["planes"]) == ({1} if isinstance(z, int) else {3})
        check_pixels(source, output, table)

    def test_metadata(self, tmp_path):
        write_harmony(tmp_path / "in", channels=("DAPI", "Brightfield"))
        source = {"path": str(tmp_path / "in"), "channels": ["brightfield", 456]}
        output, table = convert(source, tmp_path / "out")
        assert Plate(output).wells == ["B03", "AA01"]
        assert Plate(output).image("B03").channels == ["Brightfield", "DAPI"]
        assert Plate(output).image("B03").pixel_size == 0.5
        assert Plate(output).name == "BAR 1"
        attributes = Plate(output).notes
        assert attributes["layout"] == "harmony" and attributes["metadata"]["barcode"] == "BAR 1"
        channels = zarr.open_group(output / "B" / "03" / "0", mode="r").attrs["ome"]["omero"]["channels"]
        assert [channel["color"] for channel in channels] == ["FFFFFF", "0000FF"]
        assert all(0 < channel["window"]["start"] < channel["window"]["end"] <= 65535 for channel in channels)
        # Fields of 16 x 20 at (0, 0), (0, 20) and (16, 0).
        assert table[["y0", "x0"]].drop_duplicates().to_numpy().tolist() == [[0, 0], [0, 20], [16, 0]]

    def test_overlap_is_won_by_the_lowest_number(self, tmp_path):
        write_harmony(tmp_path / "in", centres=((3.0, 1.0), (0.0, 0.0), (-2.0, 2.0)))
        source = {"path": str(tmp_path / "in")}
        output, table = convert(source, tmp_path / "out")
        check_pixels(source, output, table)
        first = table[(table["field"] == 1) & (table["well"] == "B03")].iloc[0]
        image = read_plane(first["path"])
        channel = Plate(output).image("B03").channels.index(first["channel"])
        stored = Plate(output).image("B03").level(0)[channel]
        region = stored[first["y0"] : first["y0"] + 16, first["x0"] : first["x0"] + 20]
        np.testing.assert_array_equal(region, image)

    def test_pyramid_and_several_shards(self, tmp_path, monkeypatch):
        monkeypatch.setattr(plate_blocks, "SHARD_BYTES", 600_000)
        centres = tuple((300.0 * column, -250.0 * row) for row in range(2) for column in range(2))
        write_harmony(tmp_path / "in", wells=((1, 1),), centres=centres, shape=(500, 601))
        source = {"path": str(tmp_path / "in")}
        output, table = convert(source, tmp_path / "out")
        check_pixels(source, output, table)
        full = Plate(output).image("A01").level(0)
        assert len(list(plate_blocks.blocks(full))) > 2 and full.shape == (2, 1000, 1201)
        assert Plate(output).image("A01").reductions == (1, 4)
        fine, coarse = full[:].astype(np.int64), Plate(output).image("A01").level(1)[:]
        assert coarse.shape == (2, 250, 300)
        blocks = fine[:, :1000, :1200].reshape(2, 250, 4, 300, 4)
        np.testing.assert_array_equal(coarse, (blocks.sum(axis=(2, 4)) + 8) // 16)

    def test_files_per_plate(self, tmp_path):
        """Per well: its own metadata, the image's, and two per level. Of the plate: its own, a row's, table, record."""
        centres = tuple((324.0 * column, -270.0 * row) for row in range(3) for column in range(3))
        write_harmony(tmp_path / "in", wells=((1, 1), (1, 2)), centres=centres, shape=(540, 648))
        output, _ = convert({"path": str(tmp_path / "in")}, tmp_path / "out")
        count = sum(path.is_file() for path in output.rglob("*"))
        assert count == 2 * (2 + 2 * 2) + 2 + 4

    def test_channels_of_different_pixel_size(self, tmp_path):
        write_harmony(tmp_path / "in", version=7)
        index = tmp_path / "in" / "Images" / "Index.xml"
        text = index.read_text("utf-8-sig")
        index.write_text(text.replace("5E-07", "1E-06", 1), encoding="utf-8")
        with pytest.raises(InputError, match="differ in pixel size"):
            convert({"path": str(tmp_path / "in")}, tmp_path / "out")
        convert({"path": str(tmp_path / "in"), "channels": ["DAPI"]}, tmp_path / "out")

    def test_positions_that_cannot_be(self, tmp_path):
        write_harmony(tmp_path / "in", centres=((0.0, 0.0), (9e4, 9e4)))
        with pytest.raises(InputError, match="positions are wrong"):
            convert({"path": str(tmp_path / "in")}, tmp_path / "out")


class TestBadInput:
    def spoil(self, folder: Path, **more: object) -> tuple[dict, Path, pd.DataFrame]:
        """Of twelve images of one well, five are bad."""
        centres = tuple((10.0 * number, 0.0) for number in range(12))
        write_harmony(folder / "in", wells=((1, 1),), centres=centres, channels=("DAPI",))
        files = sorted((folder / "in" / "Images").glob("*.tiff"))
        files[0].unlink()
        files[1].write_bytes(b"")
        files[2].write_bytes(files[2].read_bytes()[:-50])
        files[3].write_bytes(b"this is no image, whatever its name")
        tifffile.imwrite(files[4], random_image(0, (8, 20)))
        source = {"path": str(folder / "in")}
        return source, *convert(source, folder / "out", **more)

    def test_bad_fields_are_reported_and_stay_zero(self, tmp_path):
        source, output, table = self.spoil(tmp_path, max_bad_fraction=0.5)
        expected = ["missing", "truncated", "truncated", "unreadable", "wrong size", *["ok"] * 7]
        assert table["status"].tolist() == expected
        assert (table.loc[table["status"] == "ok", "message"] == "").all()
        assert table["message"].iloc[4].endswith("8 x 20 pixels, expected 16 x 20 pixels.")
        check_pixels(source, output, table)
        assert not Plate(output).image("A01").level(0)[:, :, :100].any()
        check_valid(output)

    def test_too_many(self, tmp_path):
        with pytest.raises(InputError, match=r"5 of 12 images are bad.*max_bad_fraction 0\.1"):
            self.spoil(tmp_path)
        assert not (tmp_path / "out" / "plate.ome.zarr").exists()
        assert not (tmp_path / "out" / "fields.parquet").exists()

    def test_index_alone(self, tmp_path):
        write_harmony(tmp_path / "in")
        for path in (tmp_path / "in" / "Images").glob("*.tiff"):
            path.unlink()
        with pytest.raises(InputError, match="12 of 12 images are bad"):
            convert({"path": str(tmp_path / "in")}, tmp_path / "out")
        with pytest.raises(InputError, match="none of 12 images can be read"):
            convert({"path": str(tmp_path / "in")}, tmp_path / "out", max_bad_fraction=1.0)

    def test_image_of_one_channel_is_absent(self, tmp_path):
        write_metaxpress(tmp_path / "in")
        (tmp_path / "in" / "TimePoint_1" / "77_C11_s2_w2.TIF").unlink()
        source = {"path": str(tmp_path / "in")}
        output, table = convert(source, tmp_path / "out", max_bad_fraction=0.2)
        bad = table[table["status"] != "ok"]
        assert bad[["well", "field", "channel", "status"]].to_numpy().tolist() == [["C11", 2, "FITC", "missing"]]
        check_pixels(source, output, table)

    def test_channel_that_a_field_and_a_well_lack(self, tmp_path):
        """What is missing is reported even if nothing else is asked for."""
        write_metaxpress(tmp_path / "in", wells=("B02", "C11", "D01"))
        for name in ("77_B02_s1_w2.TIF", "77_D01_s1_w2.TIF", "77_D01_s2_w2.TIF"):
            (tmp_path / "in" / "TimePoint_1" / name).unlink()
        source = {"path": str(tmp_path / "in"), "channels": ["fitc"]}
        output, table = convert(source, tmp_path / "out", max_bad_fraction=0.5)
        assert table["status"].tolist() == ["missing", "ok", "ok", "ok", "missing", "missing"]
        check_pixels(source, output, table)
        check_valid(output)

    def test_order_of_channels_where_the_first_field_lacks_one(self, tmp_path):
        write_metaxpress(tmp_path / "in")
        (tmp_path / "in" / "TimePoint_1" / "77_B02_s1_w2.TIF").unlink()
        source = {"path": str(tmp_path / "in"), "channels": ["FITC", "DAPI"]}
        output, table = convert(source, tmp_path / "out", max_bad_fraction=0.5)
        assert Plate(output).image("B02").channels == ["FITC", "DAPI"]
        check_pixels(source, output, table)

    def test_other_pixel_type(self, tmp_path):
        write_table(tmp_path, ("a.tif", "b.tif"))
        tifffile.imwrite(tmp_path / "b.tif", np.ones((16, 20), np.float32))
        _, table = convert({"path": str(tmp_path / "plate.tsv")}, tmp_path / "out", max_bad_fraction=0.5)
        assert table["status"].tolist() == ["ok", "unreadable"]
        assert "pixels are float32" in table["message"].iloc[1]

    def test_absent_channel(self, tmp_path):
        write_harmony(tmp_path / "in")
        with pytest.raises(InputError, match=r"unknown channel .*'GFP'\. Known: Brightfield, DAPI"):
            convert({"path": str(tmp_path / "in"), "channels": ["GFP"]}, tmp_path / "out")


class TestInterruption:
    def test_continues_and_gives_the_same_bytes(self, tmp_path, monkeypatch):
        write_harmony(tmp_path / "in", wells=((1, 1), (1, 2), (2, 1), (3, 3)))
        source = {"path": str(tmp_path / "in")}
        whole, _ = convert(source, tmp_path / "whole")

        written = []
        original = plate_conversion.write_pixels

        def stop_at_third(image, read, time):
            original(image, read, time)
            written.append(image.well)
            if len(written) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(plate_conversion, "write_pixels", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            export, out = PlateExport(**source), tmp_path / "out"
            convert_plate(export, out / "plate.ome.zarr", out / "fields.parquet", workers=1)
        assert not (tmp_path / "out" / "plate.ome.zarr").exists()
        output, _ = convert(source, tmp_path / "out")
        # The third was interrupted before it was marked.
        assert written[:3] == ["A01", "A02", "B01"] and sorted(written[3:]) == ["B01", "C03"]
        assert tree_sha256(output) == tree_sha256(whole)
        assert (tmp_path / "out" / "fields.parquet").read_bytes() == (
            tmp_path / "whole" / "fields.parquet"
        ).read_bytes()

    def test_killed(self, tmp_path):
        """A job that the scheduler kills amid a well leaves nothing that counts as whole."""
        write_harmony(tmp_path / "in", wells=((1, 1), (1, 2), (2, 1)))
        source = {"path": str(tmp_path / "in")}
        folder = tmp_path / "out"
        killed = """
import os, signal, sys, zarr
from equinuclei.plates.convert import PlateExport, convert_plate
write, written = zarr.Array.__setitem__, []
def stop(array, region, block):
    write(array, region, block)
    written.append(region)
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
zarr.Array.__setitem__ = stop
convert_plate(PlateExport(sys.argv[1]), sys.argv[2] + "/plate.ome.zarr", sys.argv[2] + "/fields.parquet", 1)
"""
        scripts = Path(plate_conversion.__file__).parents[2]
        command = [sys.executable, "-W", "ignore", "-c", killed, source["path"], str(folder)]
        assert subprocess.run(command, cwd=scripts, check=False).returncode == -9
        (work,) = folder.iterdir()
        assert sorted(path.name for path in work.glob("*/.done-*")) == [".done-A01", ".done-plate"]
        output, _ = convert(source, folder)
        whole, _ = convert(source, tmp_path / "whole")
        assert tree_sha256(output) == tree_sha256(whole)

    def test_tables_are_those_of_the_plate(self, tmp_path, caplog):
        """They appear with it; where one is lost, all are made again."""
        write_harmony(tmp_path / "in")
        source = {"path": str(tmp_path / "in")}
        output, _ = convert(source, tmp_path / "out")
        (fields, ledger) = (tmp_path / "out" / f"{name}.parquet" for name in ("fields", "planes"))
        before = fields.read_bytes(), ledger.read_bytes(), tree_sha256(output)
        fields.unlink()
        convert(source, tmp_path / "out")
        assert (fields.read_bytes(), ledger.read_bytes(), tree_sha256(output)) == before
        assert "it is kept as plate.ome.zarr.replaced-" in caplog.text

    def test_finished_plate_is_left_alone(self, tmp_path):
        write_harmony(tmp_path / "in")
        source = {"path": str(tmp_path / "in")}
        output, _ = convert(source, tmp_path / "out")
        before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
        convert(source, tmp_path / "out")
        assert before == {path: path.stat().st_mtime_ns for path in output.rglob("*")}

    def test_other_plate_is_not_overwritten(self, tmp_path):
        write_harmony(tmp_path / "in")
        convert({"path": str(tmp_path / "in")}, tmp_path / "out")
        with pytest.raises(StoppedError, match="remove it first"):
            convert({"path": str(tmp_path / "in"), "channels": ["DAPI"]}, tmp_path / "out")


@pytest.fixture
def export(tmp_path):
    """An export of two wells, its images, and the plate that it becomes when it is left alone."""
    write_harmony(tmp_path / "in", wells=((1, 1), (1, 2)))
    source = {"path": str(tmp_path / "in")}
    whole, _ = convert(source, tmp_path / "whole")
    return source, sorted((tmp_path / "in" / "Images").glob("*.tiff")), tree_sha256(whole)


class TestFilesThatComeAndGo:
    """What a file system does not show for a while is not lost: the job stops, and goes on when it is there again."""

    def fail(self, export: tuple, folder: Path, kind: type[Exception], match: str) -> None:
        with pytest.raises(kind, match=match):
            convert_plate(PlateExport(**export[0]), folder / "plate.ome.zarr", folder / "fields.parquet", workers=1)
        assert not (folder / "plate.ome.zarr").exists() and not (folder / "fields.parquet").exists()

    def goes_on(self, export: tuple, folder: Path) -> None:
        output, table = convert(export[0], folder)
        assert set(table["status"]) == {"ok"} and tree_sha256(output) == export[2]

    @pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ENOENT])
    @pytest.mark.parametrize("which", [0, -1])
    def test_a_file_that_cannot_be_opened_is_not_broken(self, tmp_path, export, number, which):
        with failing(export[1][which], number=number, calls=OPENING) as fault:
            self.fail(export, tmp_path / "out", UnavailableError, re.escape(export[1][which].name))
        assert fault.count
        self.goes_on(export, tmp_path / "out")

    @pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
    def test_a_file_that_cannot_be_looked_at_is_not_absent(self, tmp_path, export, number):
        with failing(export[1][3], number=number, calls=LOOKING) as fault:
            self.fail(export, tmp_path / "out", UnavailableError, export[1][3].name)
        assert fault.count
        self.goes_on(export, tmp_path / "out")

    def test_a_fault_of_a_moment_costs_nothing_that_is_finished(self, tmp_path, export, monkeypatch):
        """The file vanishes after the first well, and returns."""
        write, written, lost = plate_conversion.write_pixels, [], export[1][-1]

        def vanish(image, read, time):
            write(image, read, time)
            written.append(image.well)
            if len(written) == 1:
                lost.rename(tmp_path / "away")

        monkeypatch.setattr(plate_conversion, "write_pixels", vanish)
        self.fail(export, tmp_path / "out", UnavailableError, lost.name)
        (tmp_path / "away").rename(lost)
        self.goes_on(export, tmp_path / "out")
        assert written == ["A01", "A02"]

    def test_garbage_of_a_moment_is_read_again(self, tmp_path, export, monkeypatch):
        read, spoilt = field_images.read_plane, []

        def spoil(path, page):
            if path == str(export[1][2]) and not spoilt:
                spoilt.append(path)
                raise InputError(f"{path}: the file is truncated")
            return read(path, page)

        monkeypatch.setattr(field_images, "read_plane", spoil)
        self.goes_on(export, tmp_path / "out")
        assert spoilt

    def test_what_was_not_shown_for_longer_is_converted_at_the_end(self, tmp_path, export, monkeypatch):
        """As chunks of a Zarr array that a file server does not list: no error tells them from lost ones."""
        read, spoilt = field_images.read_plane, []

        def spoil(path, page):
            if path == str(export[1][2]) and len(spoilt) < 2:
                spoilt.append(path)
                raise InputError(f"{path}: 1 of 4 chunks are absent: was it copied whole?")
            return read(path, page)

        monkeypatch.setattr(field_images, "read_plane", spoil)
        self.goes_on(export, tmp_path / "out")
        assert len(spoilt) == 2

    def test_too_little_memory_breaks_no_file(self, tmp_path, export, monkeypatch):
        asked = []

        def no_memory(path, page):
            asked.append(path)
            raise MemoryError("Unable to allocate 1 MiB")

        with monkeypatch.context() as patched:
            patched.setattr(field_images, "read_plane", no_memory)
            self.fail(export, tmp_path / "out", UnavailableError, "Unable to allocate")
        assert asked
        self.goes_on(export, tmp_path / "out")

    def test_a_file_that_claims_more_memory_than_there_is_is_broken(self, tmp_path, export, monkeypatch):
        read = field_images.read_plane

        def no_memory(path, page):
            if path == str(export[1][2]):
                raise MemoryError("Unable to allocate 1 TiB")
            return read(path, page)

        monkeypatch.setattr(field_images, "read_plane", no_memory)
        monkeypatch.setattr(field_images, "claims_too_much", lambda path, page, shape: True)
        _, table = convert(export[0], tmp_path / "out", max_bad_fraction=0.5)
        assert sorted(table["status"].unique()) == ["ok", "unreadable"]

    @pytest.mark.parametrize("change", ["grows", "touched", "vanishes"])
    def test_a_file_that_changes_meanwhile_is_told(self, tmp_path, export, monkeypatch, change):
        write = plate_conversion.write_pixels

        def disturb(image, read, time):
            write(image, read, time)
            if image.well == "A02":
                if change == "grows":
                    export[1][0].write_bytes(export[1][0].read_bytes() + bytes(10))
                elif change == "touched":
                    os.utime(export[1][0], (1, 1))
                else:
                    export[1][0].unlink()

        monkeypatch.setattr(plate_conversion, "write_pixels", disturb)
        self.fail(export, tmp_path / "out", StoppedError, "1 images changed while they were converted")
        assert export[1][0].exists() == (change != "vanishes")

    def test_the_folder_must_be_as_the_scan_found_it(self, tmp_path, export):
        source, images, _ = export
        content = RawFolder.of(tmp_path / "in").content
        sound = ({**source, "content": content, "absent": []}, *export[1:])
        self.goes_on(sound, tmp_path / "as it was")
        (tmp_path / "in" / "late.tiff").write_bytes(b"late")
        self.fail(sound, tmp_path / "out", StoppedError, "not those that the scan found")
        (tmp_path / "in" / "late.tiff").unlink()
        images[0].rename(tmp_path / "away")
        lost = ({**source, "content": RawFolder.of(tmp_path / "in").content, "absent": []}, *export[1:])
        self.fail(lost, tmp_path / "out", UnavailableError, "1 images that were there at the scan are not there now")
        known = {**lost[0], "absent": [f"Images/{images[0].name}"]}
        _, table = convert(known, tmp_path / "out", max_bad_fraction=0.5)
        assert (table["status"] == "missing").sum() == 1

    def test_a_folder_that_cannot_be_listed_is_not_accounted_for(self, tmp_path, export):
        (tmp_path / "in" / "more").mkdir()
        with failing(tmp_path / "in" / "more", number=errno.EIO, calls=LISTING) as fault:
            self.fail(export, tmp_path / "out", UnavailableError, "more: cannot be")
        assert fault.count
        self.goes_on(export, tmp_path / "out")


@needs_data
class TestRealExports:
    @pytest.mark.parametrize(
        ("folder", "source"),
        [
            ("harmony_phenix_BR00121482", {}),
            ("harmony_sonata_BALL", {}),
            ("metaxpress_export/9987_Plate_3434", {}),
            ("metaxpress_export/9987_Plate_3434", {"z": 1, "channels": [452, "texas red"]}),
            ("metaxpress_export/9987_Plate_3434", {"z": "mean"}),
            ("metaxpress_export/9987_Plate_3420", {}),
            ("imagexpress_database/Projection-Mix", {}),
            ("cellvoyager_cv8000/CV8000-Minimal-DataSet-2C-3W-4S-FP2-stack", {"channels": [445], "z": 0}),
            ("ome_zarr_hcs/plate_ones.zarr", {}),
            ("ome_zarr_hcs/plate_ones_mip.zarr", {}),
        ],
    )
    def test_every_pixel(self, tmp_path, folder, source):
        source = {"path": str(DATA / folder), **source}
        output, table = convert(source, tmp_path)
        assert set(table["status"]) == {"ok"}
        check_pixels(source, output, table)
        check_valid(output)

    def test_old_version(self, tmp_path):
        source = {"path": str(DATA / "metaxpress_export" / "9987_Plate_3434")}
        output, table = convert(source, tmp_path, ngff_version="0.4")
        check_pixels(source, output, table)
        check_valid(output)
