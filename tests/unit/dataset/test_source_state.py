import json
import os
import shutil

import pytest

from equinuclei.dataset import source_state as module
from equinuclei.dataset.source_state import source_content, source_files, source_state


@pytest.fixture(params=["folder", "table"])
def source(request, tmp_path):
    """A source of two files in the folder `set`."""
    folder = tmp_path / "set"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "a.tif").write_bytes(kind.encode())
    if request.param == "folder":
        return {"layout": "folder", "path": str(folder), "modality": "fluorescence"}
    (folder / "t.tsv").write_text("image_id\timage\tmask\na\timages/a.tif\tmasks/a.tif\nb\timages/a.tif\tabsent.tif\n")
    return {"layout": "table", "path": str(folder / "t.tsv")}


@pytest.fixture
def image(source, tmp_path):
    return tmp_path / "set" / "images" / "a.tif"


@pytest.fixture
def record(source, tmp_path):
    """What a conversion of the source leaves."""
    path = tmp_path / "source.json"
    state = source_state(source, path)
    path.write_text(json.dumps({"state": state, "content": source_content(source_files(source))}))
    return path


def give_other_times(folder):
    """The same names and bytes with other times."""
    for path in folder.rglob("*"):
        os.utime(path, ns=(10**18, 10**18))


def test_a_changed_file_is_another_state(source, image, tmp_path):
    before = source_state(source, tmp_path / "none.json")
    assert source_state(source, tmp_path / "none.json") == before
    image.write_bytes(image.read_bytes() + b"2")
    assert source_state(source, tmp_path / "none.json") != before


def test_every_file_counts_once(source):
    names = [file.name for file in source_files(source)]
    assert sorted(names) == ["a.tif", "a.tif", *(["t.tsv"] if source["layout"] == "table" else [])]


def test_a_source_copied_anew_is_as_it_was_converted(source, image, record, tmp_path, monkeypatch):
    converted = json.loads(record.read_text())["state"]
    give_other_times(tmp_path / "set")
    assert source_state(source, tmp_path / "none.json") != converted  # so times do differ
    assert source_state(source, record) == converted
    with monkeypatch.context() as patched:
        patched.setattr(module, "sha256", None)  # the files are read once
        assert source_state(source, record) == converted
    image.write_bytes(b"IMAGES")
    assert image.stat().st_size == len(b"images")
    assert source_state(source, record) not in ("", converted)


def test_a_renamed_or_added_file_is_another_state(source, image, record, tmp_path):
    converted = json.loads(record.read_text())["state"]
    give_other_times(tmp_path / "set")
    image.rename(image.with_name("b.tif"))
    assert source_state(source, record) != converted


def test_what_was_seen_of_another_conversion_does_not_count(source, image, record, tmp_path):
    give_other_times(tmp_path / "set")
    source_state(source, record)
    found = json.loads((tmp_path / ".source_seen").read_text())["state"]
    record.write_text(json.dumps({"state": "later", "content": "other"}))
    assert source_state(source, record) == found


@pytest.mark.parametrize("text", ["", "[]", "{", '{"state": "of an earlier version"}'])
def test_a_record_without_content_tells_nothing_of_files_that_are_there(source, tmp_path, text):
    (tmp_path / "source.json").write_text(text)
    assert source_state(source, tmp_path / "source.json") == source_state(source, tmp_path / "none.json")


def test_results_that_cannot_be_written_are_no_obstacle(source, record, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    converted = json.loads(record.read_text())["state"]
    give_other_times(tmp_path / "set")
    monkeypatch.setattr(module, "replacing", refuse)
    assert source_state(source, record) == converted


def test_a_source_removed_after_its_conversion_is_as_it_was(source, record, tmp_path):
    converted = json.loads(record.read_text())["state"]
    shutil.rmtree(tmp_path / "set")
    assert source_state(source, record) == converted
    assert source_state(source, tmp_path / "none.json") == ""
