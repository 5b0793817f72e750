"""Only complete plates start, each once; late and changed files are seen; one bad plate harms no other."""

import json
import os
import re
import shutil
import time

import pytest

from equinuclei.errors import InputError
from equinuclei.plates.inbox import (
    ScanSettings,
    quarantine,
    read_manifest,
    scan_inbox,
    tell_failures,
    waiting_plates,
)
from equinuclei.plates.scan_table import count_states, read_scan
from equinuclei.sources.plates.contents import Contents

OLD = time.time() - 86_400


def read(folder):
    """A reader of a toy layout: index.json names barcode and files."""
    try:
        index = json.loads((folder / "index.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no index\nfound ({error})") from error
    listed = tuple(folder / name for name in index["files"])
    more = {name: index[name] for name in ("planned", "not_recorded") if name in index}
    return Contents(index["barcode"], index.get("measurement", ""), "toy", listed, **more)


def put(inbox, name, files=("1.tif", "2.tif"), absent=(), age=86_400, **index):
    folder = inbox / name
    folder.mkdir(parents=True)
    (folder / "index.json").write_text(json.dumps({"barcode": name, "files": list(files), **index}))
    for file in set(files) - set(absent):
        (folder / file).write_bytes(b"pixels")
    for path in folder.iterdir():
        os.utime(path, (time.time() - age,) * 2)
    return folder


def age(path):
    os.utime(path, (OLD, OLD))


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def rows_of(inbox, settings="s", **more):
    results = inbox.parent / "plates"
    rows = scan_inbox(inbox, results, read, ScanSettings(10, settings, **more), results / "scan.tsv")
    assert read_scan(results / "scan.tsv") == rows
    return rows


def scan(inbox, settings="s", **more):
    return {row.plate: row.status for row in rows_of(inbox, settings, **more)}


def why(inbox, plate="P1"):
    return next(row.why for row in read_scan(inbox.parent / "plates/scan.tsv") if row.plate == plate)


def manifests(inbox):
    return {path.stem: path.stat().st_mtime_ns for path in (inbox.parent / "plates/manifests").glob("*.json")}


def test_a_complete_plate_is_ready_at_the_second_scan_and_its_manifest_written_once(inbox):
    put(inbox, "P1")
    assert scan(inbox) == {"P1": "copying"} and not manifests(inbox)
    assert scan(inbox) == {"P1": "ready"}
    written = manifests(inbox)
    assert scan(inbox) == {"P1": "ready"} and manifests(inbox) == written and list(written) == ["P1"]
    assert waiting_plates(inbox.parent / "plates", "s") == ["P1"]
    assert not list(inbox.glob(".*"))  # the clock file is gone


def test_a_plate_that_is_still_copied_waits(inbox):
    names = [f"{number}.tif" for number in range(10)]
    folder = put(inbox, "P1", names, absent=names, age=0)
    for name in names:
        (folder / name).write_bytes(b"pixels")
        assert scan(inbox) == {"P1": "copying"}
    assert scan(inbox) == {"P1": "copying"} and not manifests(inbox)
    for path in folder.iterdir():
        age(path)
    assert scan(inbox) == {"P1": "ready"}


def test_files_that_the_index_names_must_be_there_and_not_empty(inbox):
    folder = put(inbox, "P1", absent=["2.tif"])
    scan(inbox)
    assert scan(inbox) == {"P1": "incomplete"}
    (folder / "2.tif").touch()
    age(folder / "2.tif")
    scan(inbox)
    assert scan(inbox) == {"P1": "incomplete"} and not manifests(inbox)
    (folder / "2.tif").write_bytes(b"pixels")
    age(folder / "2.tif")
    scan(inbox)
    assert scan(inbox) == {"P1": "ready"}


@pytest.mark.parametrize("change", ["late", "changed", "touched"])
def test_a_late_or_changed_file_changes_the_manifest_of_that_plate_alone(inbox, change):
    folder = put(inbox, "P1")
    put(inbox, "P2")
    scan(inbox), scan(inbox)
    before = manifests(inbox)
    if change == "late":
        (folder / "3.tif").write_bytes(b"late")
        age(folder / "3.tif")
    elif change == "changed":
        (folder / "2.tif").write_bytes(b"others")
        age(folder / "2.tif")
    else:
        os.utime(folder / "2.tif", (OLD - 5, OLD - 5))
    scan(inbox), scan(inbox)
    after = manifests(inbox)
    assert after["P1"] > before["P1"] and after["P2"] == before["P2"]


def test_a_removed_folder_triggers_nothing(inbox):
    folder = put(inbox, "P1")
    scan(inbox), scan(inbox)
    before = manifests(inbox)
    shutil.rmtree(folder)
    assert scan(inbox) == {"P1": "removed"} and manifests(inbox) == before


def test_a_bad_plate_stops_no_other(inbox):
    (inbox / "no index").mkdir()
    (inbox / "no index" / "notes.txt").write_text("?")
    age(inbox / "no index" / "notes.txt")
    (inbox / "empty").mkdir()
    put(inbox, "good")
    scan(inbox)
    rows = scan(inbox)
    assert sorted(rows.values()) == ["incomplete", "ready", "unreadable"] and rows["good"] == "ready"


def test_two_folders_with_one_plate_are_both_reported(inbox):
    put(inbox, "a", barcode="BC1")
    put(inbox, "b", barcode="BC1")
    put(inbox, "c", barcode="BC1", measurement="2")
    scan(inbox)
    rows = rows_of(inbox)
    assert "the folders a and b hold" in rows[0].why
    assert [(row.plate, row.status) for row in rows] == [
        ("BC1", "duplicate"), ("BC1", "duplicate"), ("BC1_2", "ready"),
    ]  # fmt: skip


def test_a_plate_that_failed_is_left_alone_until_it_changes_or_a_person_says_so(inbox):
    folder = put(inbox, "P1")
    scan(inbox), scan(inbox)
    results = inbox.parent / "plates"
    with pytest.raises(InputError), quarantine(results, "P1", "s"):
        raise InputError("2.tif: truncated")
    assert scan(inbox) == {"P1": "failed"} and waiting_plates(results, "s") == []
    assert "truncated" in read_scan(results / "scan.tsv")[0].why
    assert scan(inbox, settings="another channel") == {"P1": "ready"} and waiting_plates(results, "another channel")
    (folder / "2.tif").write_bytes(b"whole now")
    age(folder / "2.tif")
    scan(inbox)
    assert scan(inbox) == {"P1": "ready"} and waiting_plates(results, "s") == ["P1"]
    with pytest.raises(InputError), quarantine(results, "P1", "s"):
        raise InputError("again")
    (results / "failed" / "P1.json").unlink()
    assert scan(inbox) == {"P1": "ready"} and waiting_plates(results, "s") == ["P1"]
    with pytest.raises(MemoryError), quarantine(results, "P1", "s"):
        raise MemoryError  # no fault of the plate
    assert waiting_plates(results, "s") == ["P1"]


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff\xfe"])
def test_a_broken_manifest_says_what_it_is_and_what_to_do(inbox, content):
    put(inbox, "P1")
    scan(inbox), scan(inbox)
    results = inbox.parent / "plates"
    manifest = results / "manifests" / "P1.json"
    manifest.write_bytes(content.encode("latin-1"))
    message = r"P1\.json: the manifest of a plate .*: delete it, and the next tick of autorun\.sh makes it again"
    for use in (
        lambda: read_manifest(manifest),
        lambda: scan(inbox),
        lambda: waiting_plates(results, "s"),
    ):
        with pytest.raises(InputError, match=message):
            use()
    with pytest.raises(InputError, match=message), quarantine(results, "P1", "s"):
        raise InputError("2.tif: truncated")
    manifest.unlink()
    assert scan(inbox) == {"P1": "ready"} and read_manifest(manifest)["plate"] == "P1"


def test_a_broken_mark_of_a_failed_plate_says_what_it_is(inbox):
    put(inbox, "P1")
    scan(inbox), scan(inbox)
    results = inbox.parent / "plates"
    with pytest.raises(InputError), quarantine(results, "P1", "s"):
        raise InputError("2.tif: truncated")
    (results / "failed" / "P1.json").write_text("{")
    with pytest.raises(InputError, match=r"P1\.json: the mark of a plate that failed .*: delete it"):
        scan(inbox)


NAMES = [f"{number}.tif" for number in range(20)]


def test_a_few_absent_images_are_waited_for_and_then_done_without(inbox):
    put(inbox, "P1", NAMES, absent=["3.tif", "7.tif"])
    scan(inbox)
    assert scan(inbox, absent_hours=48) == {"P1": "waiting"} and not manifests(inbox)
    told = r"2 of 20 listed images are absent or empty \(3\.tif, 7\.tif\); goes ahead on \d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.fullmatch(told, why(inbox))
    assert waiting_plates(inbox.parent / "plates", "s") == []
    assert scan(inbox, absent_hours=23) == {"P1": "ready"} and why(inbox).endswith("; goes ahead without them")
    written = manifests(inbox)
    assert scan(inbox, absent_hours=48) == {"P1": "waiting"} and manifests(inbox) == written  # converted once


def test_too_many_absent_images_are_told_with_what_helps(inbox):
    put(inbox, "P1", NAMES, absent=NAMES[:5])
    put(inbox, "P2", NAMES, absent=NAMES)
    scan(inbox)
    assert scan(inbox, absent_hours=0) == {"P1": "incomplete", "P2": "incomplete"} and not manifests(inbox)
    assert "5 of 20 listed images are absent or empty (0.tif, 1.tif, 2.tif, ...), more than" in why(inbox)
    assert why(inbox).endswith(
        "copy the plate again; if they are gone for good, set `plates: {max_bad_fraction: 0.25}` or more"
    )
    assert why(inbox, "P2").endswith("copy the plate again")  # nothing else helps
    assert scan(inbox, absent_hours=0, max_bad_fraction=0.25) == {"P1": "ready", "P2": "incomplete"}


def test_planned_images_are_waited_for_whatever_their_share(inbox):
    put(inbox, "P1", planned=6)
    scan(inbox)
    assert scan(inbox, absent_hours=48) == {"P1": "waiting"}
    assert why(inbox).startswith("6 of 8 planned images have neither a record nor a file; goes ahead on 20")
    assert scan(inbox, absent_hours=1) == {"P1": "ready"} and why(inbox).endswith("goes ahead without them")


def test_images_that_were_never_recorded_are_not_waited_for(inbox):
    put(inbox, "P1", not_recorded=3)
    put(inbox, "P2", files=(), not_recorded=3)
    scan(inbox)
    assert scan(inbox) == {"P1": "ready", "P2": "unreadable"}
    assert why(inbox) == "the instrument recorded no image of 3 planes" and "recorded none" in why(inbox, "P2")


def test_a_plate_that_the_settings_do_not_suit_is_told_before_it_is_converted(inbox):
    put(inbox, "P1"), put(inbox, "P2"), put(inbox, "P3")
    problems = {"P1": ("no channel", "plate 'P1' has no\nchannel DAPI")}
    more = {"find_problem": lambda plate, contents: problems.get(plate), "excluded": ["P3"], "named": ["P3", "P", "X9"]}
    scan(inbox, **more)
    assert scan(inbox, **more) == {
        "P1": "no channel",
        "P2": "ready",
        "P3": "excluded",
        "P": "not seen",
        "X9": "not seen",
    }
    assert list(manifests(inbox)) == ["P2"] and why(inbox) == "plate 'P1' has no channel DAPI"
    assert why(inbox, "P").endswith("; did you mean P1 or P2 or P3?") and why(inbox, "X9").endswith("holds it")
    problems.clear()
    assert scan(inbox, **more)["P1"] == "ready"


def test_a_failure_is_told_at_once_and_a_tick_ends_with_one_line(inbox):
    put(inbox, "P1"), put(inbox, "P2"), put(inbox, "P3", absent=["1.tif"]), put(inbox, "P4")
    scan(inbox, excluded=["P4"]), scan(inbox, excluded=["P4"])
    results = inbox.parent / "plates"
    with pytest.raises(InputError), quarantine(results, "P1", "s"):
        raise InputError("2.tif:\ttruncated")
    rows = tell_failures(results / "scan.tsv", results, "s")
    assert rows == read_scan(results / "scan.tsv") and "2.tif: truncated" in why(inbox)
    assert [row.status for row in rows] == ["failed", "ready", "incomplete", "excluded"]
    assert count_states(rows, ["P2"]) == {"done": 1, "failed": 1, "waiting": 1, "excluded": 1}
    assert count_states(rows, [])["failed"] == 2  # the jobs of P2 ended without a page
    assert scan(inbox, excluded=["P4"])["P1"] == "failed"


def test_a_scan_that_finds_nothing_new_does_not_touch_its_table(inbox):
    put(inbox, "P1"), put(inbox, "P2", absent=["1.tif"])
    scan(inbox), scan(inbox)
    written = (inbox.parent / "plates/scan.tsv").stat().st_mtime_ns
    scan(inbox)
    assert (inbox.parent / "plates/scan.tsv").stat().st_mtime_ns == written


def test_a_broken_table_of_the_last_scan_is_reported(inbox):
    (inbox.parent / "plates").mkdir()
    (inbox.parent / "plates/scan.tsv").write_text("plate\tfolder\nP1\tx\n")
    with pytest.raises(InputError, match=r"scan\.tsv: not a table of a scan .*: delete it"):
        scan(inbox)


def test_an_inbox_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"inbox .*nowhere is not a folder"):
        scan(tmp_path / "nowhere")
