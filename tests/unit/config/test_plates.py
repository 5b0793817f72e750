"""What each plate of an inbox gets: from the configuration, or its row in the table of plates."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from equinuclei.config.plates import Plates
from equinuclei.errors import InputError
from equinuclei.plates.scan_table import ScannedPlate, write_scan

DEFAULTS = yaml.safe_load((Path(__file__).parents[3] / "config/config.yaml").read_text())["plates"]


def plates(folder, table=None, **section):
    if table is not None:
        (folder / "plates.tsv").write_text(table)
        section["table"] = str(folder / "plates.tsv")
    return Plates(DEFAULTS | {"results": str(folder / "plates")} | section)


def scanned(folder, **statuses):
    """Plates that were complete once, with the statuses of the last scan."""
    (folder / "plates/manifests").mkdir(parents=True)
    rows = [ScannedPlate(name, f"/inbox/{name}", status, "", "toy", 1, 1, "c") for name, status in statuses.items()]
    for row in rows:
        (folder / f"plates/manifests/{row.plate}.json").write_text(json.dumps(asdict(row)))
    write_scan(folder / "plates/scan.tsv", rows)


def test_a_row_of_the_table_goes_before_the_configuration(tmp_path):
    found = plates(tmp_path, "plate\tchannel\tproject\nP1\tDAPI | Hoechst 33342\ttoxicity\nP2\tw1\t\nP3\t\t\n")
    assert [found.channel_of(plate) for plate in ("P1", "P2", "P3", "P4")] == [
        ["DAPI", "Hoechst 33342"], "w1", "nuclear", "nuclear",
    ]  # fmt: skip
    assert [found.project_of(plate) for plate in ("P1", "P2", "P4")] == ["toxicity", "", ""]
    assert found.named == ("P1", "P2", "P3") and found.excluded == ()


def test_plates_that_the_settings_do_not_suit_are_not_processed(tmp_path):
    scanned(
        tmp_path, good="ready", late="copying", blind="no channel", lost="no model", odd="bad plate map", out="ready"
    )
    found = plates(tmp_path, "plate\texclude\nout\tYes\n")
    assert found.waiting() == ["good"] and found.excluded == ("out",)


@pytest.mark.parametrize("status", ["copying", "incomplete", "unavailable", "removed", "unreadable", "duplicate"])
def test_a_plate_that_is_not_converted_must_lie_in_the_inbox_as_it_was(tmp_path, status):
    scanned(tmp_path, new=status, converted=status, settled=status)
    (tmp_path / "plates/converted/plate.ome.zarr").mkdir(parents=True)
    page = tmp_path / "plates/settled/model/report.html"
    page.parent.mkdir(parents=True)
    page.touch()
    assert plates(tmp_path).waiting() == ["converted", "settled"]


def test_a_plate_is_finished_when_it_has_its_page(tmp_path):
    scanned(tmp_path, good="ready", other="ready")
    page = tmp_path / "plates/good" / DEFAULTS["model"] / "report.html"
    page.parent.mkdir(parents=True)
    page.touch()
    assert plates(tmp_path).finished() == [("good", DEFAULTS["model"])]


def test_waiting_for_absent_images_longer_makes_no_failed_plate_anew(tmp_path):
    assert plates(tmp_path).digest == plates(tmp_path, absent_hours=1).digest != plates(tmp_path, channel="DAPI").digest


def test_a_table_with_an_unknown_column_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"unknown column in .*plates\.tsv: 'chanel'. Did you mean 'channel'\?"):
        plates(tmp_path, "plate\tchanel\nP1\tDAPI\n").channel_of("P1")
