"""The ledger of a raw folder: whatever the plate does not hold of it, the page says so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.omezarr.plates import Plate
from equinuclei.plates.convert import PlateExport, convert_plate
from equinuclei.plates.ledger import (
    CONVERTED,
    LEDGER_COLUMNS,
    OUTCOMES,
    about_raw_folder,
    check_pixels,
    left_out_of,
    read_ledger,
)
from support.plate_exports import random_image, write_cellvoyager, write_harmony, write_metaxpress, write_table

EXPORTS = {
    "harmony": write_harmony,
    "metaxpress": write_metaxpress,
    "cellvoyager": lambda folder: write_cellvoyager(folder, planes=1),
    "table": lambda folder: (write_table(folder), (folder / "plate.tsv").rename(folder / "planes.tsv")),
}


def convert(folder: Path, name: str = "out", **selection) -> Path:
    plate = folder.parent / name / "plate.ome.zarr"
    plate.parent.mkdir(exist_ok=True)
    export = PlateExport(folder, **selection)
    convert_plate(export, plate, plate.with_name("fields.parquet"), workers=1, max_bad_fraction=1)
    return plate


def sentence(plate: Path) -> str:
    return about_raw_folder(left_out_of(plate))


def put_table(folder: Path, rows: list[dict]) -> Path:
    """A plate as a table of planes, one image of random pixels per file."""
    folder.mkdir()
    for number, name in enumerate(dict.fromkeys(row["path"] for row in rows)):
        tifffile.imwrite(folder / name, random_image(number))
    pd.DataFrame(rows).to_csv(folder / "planes.tsv", sep="\t", index=False)
    return folder


def plane(path: str, field: int = 1, channel: str = "DAPI", **more) -> dict:
    return {"well": "B02", "field": field, "channel": channel, "path": path, **more}


@pytest.mark.parametrize("layout", EXPORTS)
class TestEveryLayout:
    @settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_a_plane_that_never_came_changes_the_sentence(self, tmp_path_factory, layout, data):
        raw = tmp_path_factory.mktemp("plate") / "raw"
        EXPORTS[layout](raw)
        whole = convert(raw, "whole")
        ledger = read_ledger(whole)
        assert list(ledger.columns) == LEDGER_COLUMNS and set(ledger["outcome"]) <= set(OUTCOMES)
        files = {str(path.relative_to(raw)) for path in raw.rglob("*") if path.is_file()}
        assert files == set(ledger["path"])
        lost = data.draw(st.sampled_from(sorted(ledger.loc[ledger["outcome"] == CONVERTED, "path"])))
        (raw / lost).unlink()
        partly = convert(raw, "partly")
        assert sentence(partly) != sentence(whole) and sentence(partly).startswith("Keep the raw folder")

    def test_every_plane_is_found_in_the_plate_and_missed_where_it_is_not(self, tmp_path, layout):
        EXPORTS[layout](tmp_path / "raw")
        plate = convert(tmp_path / "raw")
        ledger = read_ledger(plate)
        for well in Plate(plate).wells:
            image = Plate(plate).image(well)
            check_pixels(ledger, well, image.channels, image.read())
            for row in ledger[(ledger["well"] == well) & (ledger["outcome"] == CONVERTED)].itertuples():
                changed = image.read()
                place = np.s_[image.channels.index(row.channel), row.y0 : row.y0 + row.height, row.x0 :]
                changed[place][:, : row.width] = 0
                with pytest.raises(InputError, match="does not hold the pixels of"):
                    check_pixels(ledger, well, image.channels, changed)


class TestSentence:
    def test_all_of_it(self, tmp_path):
        raw = put_table(tmp_path / "raw", [plane("a.tif"), plane("b.tif", field=2)])
        assert sentence(convert(raw)).endswith("the raw folder may be deleted.")

    def test_a_plate_without_its_ledger(self, tmp_path):
        plate = convert(put_table(tmp_path / "raw", [plane("a.tif"), plane("b.tif", field=2)]))
        ledger = pd.read_parquet(plate.with_name("planes.parquet"))
        ledger.iloc[1:].to_parquet(plate.with_name("planes.parquet"))
        assert "Keep the raw folder: there is no record" in sentence(plate)
        plate.with_name("planes.parquet").unlink()
        assert "Keep the raw folder: there is no record" in sentence(plate)

    @pytest.mark.parametrize(
        "more, selection, expected",
        [
            ({"channel": "Cy5"}, {"channels": ["DAPI"]}, "but for not converted: channel Cy5."),
            ({"t": 1}, {}, "Keep the raw folder: not converted: 1 of 2 time points."),
            ({"t": 1}, {"t": "first"}, "but for not converted: 1 of 2 time points."),
            ({"t": 1}, {"t": "all"}, "compared by checksum. For this"),
            ({"z": 1}, {}, "Keep the raw folder: 2 planes of stacks projected into one image each."),
            ({"z": 1}, {"z": "max"}, "but for 2 planes of stacks projected into one image each."),
            ({"z": 1}, {"z": 0}, "but for not converted: 1 plane of stacks."),
        ],
    )
    def test_what_was_not_chosen(self, tmp_path, more, selection, expected):
        raw = put_table(tmp_path / "raw", [plane("a.tif", z=0, t=0), plane("b.tif", **{"z": 0, "t": 0} | more)])
        assert expected in sentence(convert(raw, **selection))

    def test_overlaps(self, tmp_path):
        place = {"y": 0, "pixel_size": 1}
        raw = put_table(tmp_path / "raw", [plane("a.tif", x=0, **place), plane("b.tif", field=2, x=18, **place)])
        plate = convert(raw)
        assert sentence(plate) == "Keep the raw folder: 5.0% of the raw pixels lie under neighbouring fields."
        check_pixels(read_ledger(plate), "B02", ["DAPI"], Plate(plate).image("B02").read())

    def test_files_and_pages_that_no_plane_names(self, tmp_path):
        raw = put_table(tmp_path / "raw", [plane("a.tif", page=0), plane("b.tif", field=2, page=0)])
        tifffile.imwrite(raw / "b.tif", np.stack([random_image(n) for n in range(3)]), photometric="minisblack")
        (raw / "more").mkdir()
        for name in ("more/_c.tif", "extra.c01", "notes.txt", "Thumbs.db", "._a.tif"):
            (raw / name).write_bytes(b"x")
        ledger = read_ledger(plate := convert(raw))
        assert "2 pages of 1 file that the index does not list" in sentence(plate)
        assert "2 unknown files: extra.c01, more/_c.tif" in sentence(plate)
        outcomes = ledger.set_index("path")["outcome"]
        assert {outcomes[name] for name in ("notes.txt", "Thumbs.db", "._a.tif", "planes.tsv")} == {"no pixels"}


class TestTime:
    ROWS = tuple(plane(f"{t}{field}.tif", field, t=t + 4) for t in range(3) for field in (1, 2))

    def test_all(self, tmp_path):
        raw = put_table(tmp_path / "raw", list(self.ROWS))
        image = Plate(plate := convert(raw, t="all")).image("B02")
        assert image.times == 3 and Plate(plate).notes["times"] == [0, 1, 2]
        fields = pd.read_parquet(plate.with_name("fields.parquet"))
        for row in fields.itertuples():
            pixels = tifffile.imread(row.path)
            np.testing.assert_array_equal(
                image.read_channel(0, row.time)[row.y0 : row.y0 + row.height, row.x0 : row.x0 + row.width], pixels
            )
        assert len(fields) == 6

    @pytest.mark.parametrize("t, wanted", [(None, 0), ("first", 0), (1, 1), ("last", 2)])
    def test_one(self, tmp_path, t, wanted):
        raw = put_table(tmp_path / "raw", list(self.ROWS))
        image = Plate(convert(raw, t=t)).image("B02")
        assert not image.has_time
        np.testing.assert_array_equal(image.read()[0, :16, :20], tifffile.imread(raw / f"{wanted}1.tif"))

    @pytest.mark.parametrize("t, times", [(None, 1), ("last", 1), (1, 1), ("all", 3)])
    def test_a_stain_at_the_end_is_no_missing_image(self, tmp_path, t, times):
        rows = [*self.ROWS, *(plane(f"stain{field}.tif", field, "stain", t=6) for field in (1, 2))]
        raw = put_table(tmp_path / "raw", rows)
        plate = convert(raw, t=t)
        image = Plate(plate).image("B02")
        assert image.times == times and set(pd.read_parquet(plate.with_name("fields.parquet"))["status"]) == {"ok"}
        stain = image.read_channel(image.channels.index("stain"), times - 1)
        np.testing.assert_array_equal(stain[:16, :20], tifffile.imread(raw / "stain1.tif"))
        assert "could not be read" not in sentence(plate)
        for time in range(times):
            check_pixels(read_ledger(plate), "B02", image.channels, image.read(time), time)

    def test_a_channel_without_stack_is_taken_for_every_plane(self, tmp_path):
        rows = [plane(f"{z}.tif", z=z) for z in range(3)] + [plane("other.tif", channel="other", z=0)]
        plate = convert(put_table(tmp_path / "raw", rows), z=2)
        assert set(pd.read_parquet(plate.with_name("fields.parquet"))["status"]) == {"ok"}
