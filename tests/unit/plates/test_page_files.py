"""The folder beside a page is that of the page: built anew with it, and never somebody else's."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from equinuclei.plates import page_files
from equinuclei.plates.page_files import PageFiles, write_page_files


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes the folder `report_files` with one file of some content."""

    def write_content(content):
        monkeypatch.setattr(
            page_files, "write_downloads", lambda folder, *_: (folder / "wells.csv").write_text(content)
        )
        pixels = SimpleNamespace(plate=SimpleNamespace(path=Path("plate.ome.zarr")))
        write_page_files(PageFiles(pixels, pd.DataFrame(), pd.DataFrame()), tmp_path / "report.html", 0)
        return (tmp_path / "report_files" / "wells.csv").read_text()

    return write_content


def test_it_is_built_anew_with_its_page(write, tmp_path):
    assert [write("1"), write("2")] == ["1", "2"]  # the same tables: a page is made again when somebody asks for it
    assert [path.name for path in tmp_path.iterdir()] == ["report_files"]


def test_a_folder_that_no_page_made_is_kept(write, tmp_path, caplog):
    (tmp_path / "report_files").mkdir()
    (tmp_path / "report_files" / "notes.txt").write_text("mine")
    assert write("1") == "1" and not (tmp_path / "report_files" / "notes.txt").exists()
    (kept,) = tmp_path.glob("report_files.replaced-*")
    assert (kept / "notes.txt").read_text() == "mine" and kept.name in caplog.text
