"""Only complete plates start, each once; late and changed files are seen; one bad plate harms no other."""

import errno
import json
import os
import re
import shutil
import time

import pytest

from equinuclei.errors import InputError, StoppedError, UnavailableError
from equinuclei.plates import inbox as inbox_module
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
from support.faulty_files import LISTING, LOOKING, OPENING, failing

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


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\xff\xfe"])
def test_a_broken_manifest_concerns_its_plate_alone(inbox, content, caplog):
    put(inbox, "P1"), put(inbox, "P2"), put(inbox, "P3")
    scan(inbox), scan(inbox)
    results = inbox.parent / "plates"
    manifest, of_p3 = results / "manifests" / "P1.json", results / "manifests" / "P3.json"
    whole = read_manifest(manifest)
    for path in (manifest, of_p3):
        path.write_bytes(content.encode("latin-1"))
    message = r"P1\.json: .*the manifest of a plate .*: delete it, and the next tick of autorun\.sh makes it again"
    with pytest.raises(InputError, match=message):
        read_manifest(manifest)
    assert waiting_plates(results, "s") == ["P2"] and re.search(message, caplog.text)
    with pytest.raises(StoppedError, match="truncated"), quarantine(results, "P1", "s"):
        raise InputError("2.tif: truncated")
    assert not list(results.glob("failed/*"))  # nothing says as which plate it failed
    shutil.rmtree(inbox / "P3")
    assert scan(inbox) == {"P1": "ready", "P2": "ready", "P3": "unreadable"}
    assert "P3.json: " in why(inbox, "P3") and "the manifest of a plate" in why(inbox, "P3")
    assert read_manifest(manifest) == whole


def test_a_manifest_that_cannot_be_read_now_is_not_written_anew(inbox):
    put(inbox, "P1"), put(inbox, "P2")
    scan(inbox), scan(inbox)
    written = manifests(inbox)
    with failing(inbox.parent / "plates/manifests/P1.json", number=errno.EIO, calls=OPENING):
        assert scan(inbox) == {"P1": "unavailable", "P2": "ready"}
        assert waiting_plates(inbox.parent / "plates", "s") == ["P2"]
    assert scan(inbox) == {"P1": "ready", "P2": "ready"} and manifests(inbox) == written


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff\xfe"])
def test_a_broken_mark_of_a_failed_plate_is_told_and_the_plate_tried_again(inbox, content, caplog):
    put(inbox, "P1"), put(inbox, "P2")
    scan(inbox), scan(inbox)
    results = inbox.parent / "plates"
    with pytest.raises(InputError), quarantine(results, "P1", "s"):
        raise InputError("2.tif: truncated")
    (results / "failed" / "P1.json").write_bytes(content.encode("latin-1"))
    assert scan(inbox) == {"P1": "ready", "P2": "ready"} and waiting_plates(results, "s") == ["P1", "P2"]
    assert re.search(r"P1\.json: .*the mark of a plate that failed .*: the plate is tried again", caplog.text)
    assert not (results / "failed" / "P1.json").exists()
    with pytest.raises(InputError), quarantine(results, "P1", "s"):
        raise InputError("2.tif: truncated")
    assert scan(inbox) == {"P1": "failed", "P2": "ready"}


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


class TestWhatMayPass:
    """What is away for a while is neither failed, nor removed, nor absent."""

    def known(self, inbox, *names):
        for name in names:
            put(inbox, name, NAMES)
        scan(inbox)
        assert set(scan(inbox).values()) == {"ready"}
        return manifests(inbox), (inbox.parent / "plates/scan.tsv").read_text()

    def left(self, inbox):
        return manifests(inbox), (inbox.parent / "plates/scan.tsv").read_text()

    def test_an_inbox_that_is_away_is_no_mistake_of_the_configuration(self, inbox):
        known = self.known(inbox, "P1")
        inbox.rename(inbox.parent / "away")
        with pytest.raises(
            UnavailableError, match="is not there now, where 1 plates lay at the last scan: is it mounted"
        ):
            scan(inbox)
        (inbox.parent / "away").rename(inbox)
        assert self.left(inbox) == known and scan(inbox) == {"P1": "ready"}

    def test_an_empty_inbox_where_plates_lay_is_told_until_a_person_says_that_it_is_right(self, inbox):
        known = self.known(inbox, "P1", "P2")
        inbox.rename(inbox.parent / "away")
        inbox.mkdir()
        for _ in range(3):
            with pytest.raises(UnavailableError, match=r"is empty, where 2 plates lay .* a file inbox\.txt"):
                scan(inbox)
        assert self.left(inbox) == known
        (inbox / "inbox.txt").touch()
        assert scan(inbox) == {"P1": "removed", "P2": "removed"}
        (inbox / "inbox.txt").unlink()
        assert scan(inbox) == {"P1": "removed", "P2": "removed"}  # that is known now

    def test_without_the_last_scan_an_empty_inbox_is_believed(self, inbox):
        self.known(inbox, "P1", "P2")
        shutil.rmtree(inbox)
        inbox.mkdir()
        (inbox.parent / "plates/scan.tsv").unlink()
        assert scan(inbox) == {"P1": "removed", "P2": "removed"}

    @pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
    def test_an_inbox_that_cannot_be_listed_ends_the_scan(self, inbox, number):
        known = self.known(inbox, "P1", "P2")
        with failing(inbox, number=number, calls=LISTING), pytest.raises(UnavailableError, match="cannot be looked at"):
            scan(inbox)
        assert self.left(inbox) == known

    @pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
    @pytest.mark.parametrize("calls", [OPENING, LOOKING, LISTING])
    def test_a_plate_that_cannot_be_looked_at_is_unavailable_until_it_can(self, inbox, number, calls):
        written, _ = self.known(inbox, "P1", "P2")
        at = inbox / "P1" if calls == LISTING else inbox / "P1" / "index.json"
        with failing(at, number=number, calls=calls) as fault:
            assert scan(inbox) == {"P1": "unavailable", "P2": "ready"}
        assert fault.count and os.strerror(number) in why(inbox)
        assert scan(inbox) == {"P1": "ready", "P2": "ready"} and manifests(inbox) == written

    @pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
    def test_one_folder_that_cannot_be_looked_at_ends_no_scan(self, inbox, number):
        written, _ = self.known(inbox, "P1", "P2")
        with failing(inbox / "P1", number=number):
            assert scan(inbox) == {"P1": "unavailable", "P2": "ready"}
        assert scan(inbox) == {"P1": "ready", "P2": "ready"} and manifests(inbox) == written

    def test_a_plate_that_is_a_link_to_what_is_away_is_not_removed(self, inbox):
        put(inbox.parent / "server", "P1")
        (inbox / "P1").symlink_to(inbox.parent / "server" / "P1")
        scan(inbox)
        assert scan(inbox) == {"P1": "ready"}
        (inbox.parent / "server").rename(inbox.parent / "away")
        assert scan(inbox) == {"P1": "unavailable"}
        (inbox.parent / "away").rename(inbox.parent / "server")
        assert scan(inbox) == {"P1": "ready"}

    @pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
    def test_an_image_that_cannot_be_looked_at_is_not_absent(self, inbox, number):
        put(inbox, "P1", NAMES)
        with failing(inbox / "P1" / "3.tif", number=number, calls=LOOKING):
            scan(inbox)
            assert scan(inbox, absent_hours=0) == {"P1": "unavailable"} and not manifests(inbox)
        scan(inbox), scan(inbox)
        assert scan(inbox) == {"P1": "ready"}

    @pytest.mark.parametrize("link", ["3.tif", "folder/3.tif"])
    def test_a_link_to_nothing_is_told_and_not_done_without(self, inbox, link):
        names = [name if name != "3.tif" else link for name in NAMES]
        folder = inbox / "P1"
        put(inbox, "P1", names, absent=names[3:4])
        at = folder / link.split("/")[0]
        at.symlink_to(inbox.parent / "elsewhere")
        scan(inbox)
        assert scan(inbox, absent_hours=0) == {"P1": "unavailable"} and "is a link to" in why(inbox)
        at.unlink()
        scan(inbox)
        assert scan(inbox, absent_hours=0) == {"P1": "ready"}  # gone for good

    def test_a_plate_that_lost_images_is_not_made_anew_without_them(self, inbox):
        written, _ = self.known(inbox, "P1", "P2")
        (inbox / "P1" / "3.tif").rename(inbox.parent / "3.tif")
        scan(inbox)
        assert scan(inbox, absent_hours=0) == {"P1": "incomplete", "P2": "ready"} and manifests(inbox) == written
        assert why(inbox).startswith("1 images are gone that were there before (3.tif)")
        (inbox.parent / "3.tif").rename(inbox / "P1" / "3.tif")
        scan(inbox)
        assert scan(inbox) == {"P1": "ready", "P2": "ready"} and manifests(inbox) == written
        (inbox / "P1" / "3.tif").unlink()
        (inbox.parent / "plates/manifests/P1.json").unlink()  # as the reason says: they are gone for good
        scan(inbox)
        assert scan(inbox, absent_hours=0)["P1"] == "ready"
        assert read_manifest(inbox.parent / "plates/manifests/P1.json")["absent"] == ["3.tif"]

    def test_a_plate_of_which_less_is_seen_is_not_made_anew(self, inbox):
        """Where names tell what files are, an image that is not shown is not listed."""
        written, _ = self.known(inbox, "P1")
        put(inbox, "P1x", NAMES[:10], barcode="P1")
        shutil.rmtree(inbox / "P1")
        (inbox / "P1x").rename(inbox / "P1")
        scan(inbox)
        assert scan(inbox) == {"P1": "incomplete"} and manifests(inbox) == written
        assert why(inbox).startswith("it has 10 images, and had 20 before: nothing is made anew")

    def test_a_manifest_of_an_older_version_is_not_written_anew(self, inbox):
        self.known(inbox, "P1")
        path = inbox.parent / "plates/manifests/P1.json"
        manifest = {key: value for key, value in read_manifest(path).items() if key not in ("listed", "absent")}
        path.write_text(json.dumps(manifest))
        before = manifests(inbox)
        assert scan(inbox) == {"P1": "ready"} and manifests(inbox) == before

    def test_a_folder_that_is_not_understood_for_a_while_is_still_its_plate(self, inbox):
        put(inbox, "folder", barcode="BC1")
        scan(inbox), scan(inbox)
        (inbox / "folder" / "index.json").rename(inbox / "away")
        assert scan(inbox) == {"BC1": "unreadable"}  # not removed: its folder is there
        (inbox / "away").rename(inbox / "folder" / "index.json")
        scan(inbox)
        assert scan(inbox) == {"BC1": "ready"}

    def test_a_folder_that_holds_another_plate_now_is_told(self, inbox):
        put(inbox, "folder", barcode="BC1")
        scan(inbox), scan(inbox)
        shutil.rmtree(inbox / "folder")
        put(inbox, "folder", barcode="BC2")
        scan(inbox)
        assert scan(inbox) == {"BC2": "ready", "BC1": "removed"}
        assert why(inbox, "BC1") == "its folder holds another plate now; its results stay"

    def test_the_name_of_a_folder_that_is_not_understood_makes_no_duplicate(self, inbox):
        put(inbox, "a", barcode="BC1")
        (inbox / "BC1").mkdir()
        (inbox / "BC1" / "notes.txt").write_text("?")
        age(inbox / "BC1" / "notes.txt")
        scan(inbox)
        assert sorted((row.plate, row.status) for row in rows_of(inbox)) == [("BC1", "ready"), ("BC1", "unreadable")]
        assert waiting_plates(inbox.parent / "plates", "s") == ["BC1"]

    def test_whatever_a_reader_raises_ends_no_scan(self, inbox, monkeypatch):
        put(inbox, "P1"), put(inbox, "P2")

        def fall(folder):
            if folder.name == "P1":
                raise ZeroDivisionError("pixels per nothing")
            return read(folder)

        results = inbox.parent / "plates"
        settings = ScanSettings(10, "s")
        scan_inbox(inbox, results, fall, settings, results / "scan.tsv")
        rows = scan_inbox(inbox, results, fall, settings, results / "scan.tsv")
        assert [row.status for row in rows] == ["unreadable", "ready"] and "pixels per nothing" in rows[0].why

    def test_files_of_the_future_are_told(self, inbox):
        put(inbox, "P1", age=-86_400 * 400)
        scan(inbox)
        assert scan(inbox) == {"P1": "dated ahead"} and why(inbox).startswith("a file is dated 20")
        for path in (inbox / "P1").iterdir():
            age(path)
        assert scan(inbox) == {"P1": "ready"}

    def test_by_another_clock_the_times_of_files_must_stay_as_they_are(self, inbox, monkeypatch):
        """Where we may not write into the inbox, its clock is unknown: a copy that goes on may look old."""
        folder = put(inbox, "P1")
        monkeypatch.setattr(inbox_module, "_file_system_time", lambda *_: (time.time_ns(), False))
        scan(inbox)
        for ago in (7200, 7100):
            os.utime(folder / "1.tif", (time.time() - ago,) * 2)  # of the same size, and written on
            assert scan(inbox) == {"P1": "copying"}
        assert scan(inbox) == {"P1": "ready"}


class TestQuarantine:
    """Only what is proved in a plate's own files marks it."""

    @pytest.fixture
    def results(self, inbox):
        put(inbox, "P1")
        scan(inbox), scan(inbox)
        return inbox.parent / "plates"

    def marked(self, inbox, results):
        return bool(list(results.glob("failed/*"))) or scan(inbox) != {"P1": "ready"}

    @pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ENOENT])
    def test_what_the_system_caused_is_no_proof(self, inbox, results, number):
        with pytest.raises(UnavailableError, match=r"1\.tif is damaged"), quarantine(results, "P1", "s"):
            raise InputError("1.tif is damaged") from OSError(number, os.strerror(number))
        assert not self.marked(inbox, results)

    @pytest.mark.parametrize("error", [OSError(errno.EIO, "x"), MemoryError(), StoppedError("x"), RuntimeError("x")])
    def test_no_other_error_marks(self, inbox, results, error):
        with pytest.raises(type(error)), quarantine(results, "P1", "s"):
            raise error
        assert not self.marked(inbox, results)

    def test_nothing_is_proved_while_the_folder_is_away(self, inbox, results):
        with pytest.raises(StoppedError, match="no plate that can be read"), quarantine(results, "P1", "s"):
            (inbox / "P1").rename(inbox.parent / "away")
            raise InputError("no plate that can be read")
        (inbox.parent / "away").rename(inbox / "P1")
        assert not self.marked(inbox, results)

    def test_nothing_is_proved_while_files_come_and_go(self, inbox, results):
        with pytest.raises(StoppedError, match="not those that the scan found"), quarantine(results, "P1", "s"):
            (inbox / "P1" / "2.tif").rename(inbox.parent / "2.tif")
            raise InputError("1 of 2 images are bad")
        (inbox.parent / "2.tif").rename(inbox / "P1" / "2.tif")
        assert not self.marked(inbox, results)

    def test_a_mark_that_cannot_be_written_is_told_and_the_plate_tried_again(self, inbox, results):
        (results / "failed").write_text("no folder")
        with pytest.raises(StoppedError, match=r"truncated \(not recorded"), quarantine(results, "P1", "s"):
            raise InputError("1.tif: truncated")
        (results / "failed").unlink()
        assert not self.marked(inbox, results)

    def test_a_file_that_is_restored_with_its_size_and_time_tries_the_plate_again(self, inbox, results):
        with pytest.raises(InputError), quarantine(results, "P1", "s"):
            raise InputError("1.tif: damaged")
        assert scan(inbox) == {"P1": "failed"} and scan(inbox) == {"P1": "failed"}
        path = inbox / "P1" / "1.tif"
        before = path.stat()
        path.write_bytes(b"PIXELS")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert scan(inbox) == {"P1": "ready"} and not list(results.glob("failed/*"))

    def test_other_code_tries_a_failed_plate_again(self, inbox, results, monkeypatch):
        with pytest.raises(InputError), quarantine(results, "P1", "s"):
            raise InputError("1.tif: truncated")
        assert self.marked(inbox, results)
        monkeypatch.setattr(inbox_module, "_software", lambda: "a later version")
        assert scan(inbox) == {"P1": "ready"} and waiting_plates(results, "s") == ["P1"]
