"""scan.tsv: what is written is read, and no name in it runs in a spreadsheet."""

import pytest

from equinuclei.errors import InputError
from equinuclei.plates.scan_table import READY, ScannedPlate, read_scan, write_scan


@pytest.mark.parametrize("text", ["=cmd()", "-1+1", "plain", "'=twice", "@x\ty"])
def test_names_come_back_and_are_no_formulas(tmp_path, text):
    plates = [ScannedPlate("P", "/inbox/P", READY, text, "harmony", 3, 45, "abc")]
    write_scan(tmp_path / "scan.tsv", plates)
    assert read_scan(tmp_path / "scan.tsv") == plates
    assert not any(cell.startswith(("=", "-", "@")) for cell in (tmp_path / "scan.tsv").read_text().split("\t"))


def test_a_table_that_breaks_off(tmp_path):
    (tmp_path / "scan.tsv").write_text("plate\tfolder\tstatus\tfiles\tbytes\nP\t/in\n")
    with pytest.raises(InputError, match="not a table of a scan"):
        read_scan(tmp_path / "scan.tsv")
