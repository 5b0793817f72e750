"""Outputs appear complete or not at all, and unfinished work is resumed."""

import errno
import hashlib
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from equinuclei.checksums import RECORD, digest, sha256
from equinuclei.errors import InputError, StoppedError, UnavailableError
from equinuclei.runtime import files
from equinuclei.runtime.files import (
    beside_file,
    done_record,
    is_done,
    make_folder,
    mark_done,
    read_record,
    replacing,
    require_space,
    with_scratch_folder,
    write_json,
)

ROOT = Path(files.__file__).parents[2]


def stop_after_first(folder):
    """Finish one unit of work, then fail."""
    (folder / "first").touch()
    mark_done(folder, "first")
    raise RuntimeError


def names(folder):
    """What a folder holds, without the record of what it was made from."""
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD)


def test_a_file_is_replaced_only_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "table.tsv"
    with replacing(target) as temporary:
        temporary.write_text("old")
        assert not target.exists() and temporary.suffix == ".tsv"
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_a_work_folder_outlives_an_error_and_becomes_the_target(tmp_path):
    target = tmp_path / "store.zarr"
    with pytest.raises(RuntimeError):
        make_folder(target, "key", stop_after_first)
    assert not target.exists()

    def resume(folder):
        assert is_done(folder, "first") and not is_done(folder, "second")

    make_folder(target, "key", resume)
    assert names(target) == ["first"]
    assert list(tmp_path.iterdir()) == [target]


def test_work_of_another_key_is_stale(tmp_path):
    with pytest.raises(RuntimeError):
        make_folder(tmp_path / "a", "old code", stop_after_first)

    def start_anew(folder):
        assert not is_done(folder, "first")

    make_folder(tmp_path / "a", "new code", start_anew)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    make_folder(tmp_path / "a", "key", lambda folder: (folder / "x").touch())
    assert (tmp_path / "a" / "x").exists()


def test_a_scratch_folder_is_removed_only_when_the_work_is_done(tmp_path):
    with pytest.raises(RuntimeError):
        with_scratch_folder(tmp_path / "a", "key", stop_after_first, is_finished=lambda _: False)
    found = []

    def work(folder):
        found.append((folder / "first").exists())

    with_scratch_folder(tmp_path / "a", "key", work, is_finished=lambda _: False)
    assert found == [True] and list(tmp_path.iterdir()) == []


def write(name, content):
    """A function that builds a folder with one file."""
    return lambda folder: (folder / name).write_text(content)


def with_table(tmp_path, content):
    """A folder `a` with a file x, and `table.tsv` beside it."""

    def build(folder):
        (folder / "x").write_text(content)
        beside_file(folder, f"{tmp_path}/table.tsv").write_text(content)

    return build


def test_a_finished_result_is_not_made_again(tmp_path):
    make_folder(tmp_path / "a", "key", write("x", "1"))
    make_folder(tmp_path / "a", "key", lambda _: pytest.fail("it is there"))
    make_folder(tmp_path / "a", "key", write("x", "2"), anew=True)
    assert (tmp_path / "a" / "x").read_text() == "2" and names(tmp_path) == ["a"]


@pytest.mark.parametrize("earlier", ["of another key", "of an earlier version", "with a broken record", "a file"])
@pytest.mark.parametrize("appears", ["before", "meanwhile"])
def test_what_was_made_from_other_inputs_is_moved_aside_and_told(tmp_path, caplog, earlier, appears):
    target, old = tmp_path / "store.zarr", tmp_path / "old"
    if earlier == "a file":
        old.write_text("old")
    else:
        make_folder(old, "old key", write("x", "old"))
        if earlier == "of an earlier version":
            (old / RECORD).unlink()
        if earlier == "with a broken record":
            (old / RECORD).write_text('{"key": "new k')

    def build(folder):
        if appears == "meanwhile":  # as when a person copies an old store there
            old.rename(target)
        (folder / "y").touch()

    if appears == "before":
        old.rename(target)
    make_folder(target, "new key", build)
    (aside,) = set(tmp_path.iterdir()) - {target}
    assert names(target) == ["y"] and aside.name.startswith("store.zarr.replaced-") and aside.name in caplog.text
    assert (aside if aside.is_file() else aside / "x").read_text() == "old"


def test_an_immutable_result_is_not_replaced(tmp_path):
    make_folder(tmp_path / "a", "key", write("x", "1"), immutable=True)
    make_folder(tmp_path / "a", "key", write("x", "1"), immutable=True)
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a", "another", write("x", "2"), immutable=True)
    assert (tmp_path / "a" / "x").read_text() == "1" and names(tmp_path) == ["a"]


@pytest.mark.parametrize("lost", ["table.tsv", "a"])
def test_what_belongs_together_is_made_again_together(tmp_path, lost, caplog):
    table = tmp_path / "table.tsv"
    make_folder(tmp_path / "a", "key", with_table(tmp_path, "1"), beside=[table])
    make_folder(str(tmp_path / "a"), "key", lambda _: pytest.fail("it is there"), beside=[str(table)])
    (tmp_path / lost).rename(tmp_path / "lost")
    make_folder(tmp_path / "a", "key", with_table(tmp_path, "2"), beside=[table])
    assert table.read_text() == (tmp_path / "a" / "x").read_text() == "2"
    assert ("table.tsv.replaced" in caplog.text, "a.replaced" in caplog.text) == (lost == "a", lost != "a")


def test_a_file_of_another_key_beside_a_result_shows(tmp_path):
    table = tmp_path / "table.tsv"
    make_folder(tmp_path / "a", "key", with_table(tmp_path, "1"), beside=[table])
    table.write_text("of another key")
    make_folder(tmp_path / "a", "key", with_table(tmp_path, "1"), beside=[table])
    assert table.read_text() == "1"
    assert sorted(path.read_text() for path in tmp_path.glob("table.tsv.*")) == ["of another key"]


@pytest.mark.parametrize("number", range(10))
def test_killed_between_any_two_renames_the_next_job_mends_it(tmp_path, number):
    """Files beside a result and the result appear by several renames, after older ones went."""
    table, target = tmp_path / "table.tsv", tmp_path / "a"
    make_folder(target, "old key", with_table(tmp_path, "old"), beside=[table])
    code = f"""
        import os, sys
        from pathlib import Path
        from equinuclei.runtime.files import beside_file, make_folder, mark_done
        left = {number}
        def dying(call):
            def rename(path, *to):
                global left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), 9)
                return call(path, *to)
            return rename
        def build(folder):
            (folder / "x").write_text("new")
            mark_done(folder, "x")
            beside_file(folder, Path(sys.argv[1])).write_text("new")
            for name in ("rename", "replace", "unlink", "rmdir"):
                setattr(Path, name, dying(getattr(Path, name)))
        make_folder(sys.argv[2], "new key", build, beside=[Path(sys.argv[1])])
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), table, target], env=environment, check=False)
    if target.exists():
        assert table.read_text() == (target / "x").read_text()  # they belong together
    make_folder(target, "new key", with_table(tmp_path, "new"), beside=[table])
    assert table.read_text() == (target / "x").read_text() == "new" and names(target) == ["x"]
    kept = {path.name.split(".replaced-")[0]: path for path in tmp_path.glob("*.replaced-*")}
    assert kept["table.tsv"].read_text() == (kept["a"] / "x").read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_a_broken_mark_is_told_and_its_unit_made_again(tmp_path, caplog):
    for content in ("", '{"unit": "x', "[]", '{"unit": "y", "record": {}}'):
        mark_done(owned_folder(tmp_path), "x", {"rows": [1]})
        assert done_record(tmp_path / "base/own", "x") == {"rows": [1]}
        (tmp_path / "base/own/.done-x").write_text(content)
        caplog.clear()
        assert not is_done(tmp_path / "base/own", "x") and "x is made again" in caplog.text
        assert done_record(tmp_path / "base/own", "x") is None


def owned_folder(tmp_path):
    folder = tmp_path / "base" / "own"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "owner-own").touch()
    return folder


def test_marks_and_renames_come_after_the_data_are_on_the_disk(tmp_path, monkeypatch):
    """What is marked or named before may be empty after a power cut."""
    done = []
    monkeypatch.setattr(files, "sync_file_system", lambda path: done.append(f"sync {path.name}"))
    monkeypatch.setattr(files, "sync_file", lambda path: done.append("sync file"))
    monkeypatch.setattr(files, "sync_folder", lambda path: done.append(f"sync folder {path.name}"))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: (done.append(f"name {to.name}"), replace(path, to))[1])
    mark_done(owned_folder(tmp_path), "x")
    assert done == ["sync own", "sync file", "name .done-x", "sync folder own"]
    done.clear()
    with replacing(tmp_path / "a.tsv") as temporary:
        temporary.touch()
    assert done == ["sync file", "name a.tsv", f"sync folder {tmp_path.name}"]


def test_what_the_disk_refuses_late_is_told(tmp_path, monkeypatch):
    """A quota of a file server may be exceeded when a file is synced, and not before."""

    def refuse(descriptor):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=r"quota exceeded"), replacing(tmp_path / "a.tsv") as temporary:
        temporary.touch()
    assert list(tmp_path.iterdir()) == []


def test_a_previous_file_is_kept_when_asked_for(tmp_path):
    for content in "123":
        with replacing(tmp_path / "a", keep=tmp_path / "before") as temporary:
            temporary.write_text(content)
    assert (tmp_path / "a").read_text() == "3" and (tmp_path / "before").read_text() == "2"


def test_a_record_that_is_missing_proves_nothing(tmp_path):
    with pytest.raises(UnavailableError, match=r"a\.json: the record is not there: .*make it again"):
        read_record(tmp_path / "a.json", "the record", "make it again")
    for content in ("", "{", "[]"):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(InputError, match=r"a\.json: .*the record is .*make it again"):
            read_record(tmp_path / "a.json", "the record", "make it again")


def test_checksums(tmp_path):
    (tmp_path / "a").write_bytes(b"nuclei")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"nuclei").hexdigest()
    assert digest({"b": 1, "a": [2]}) == digest({"a": [2], "b": 1}) != digest({"a": [1], "b": 2})
    write_json(tmp_path / "a.json", {"µ": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "µ": 1\n}\n'


def test_the_umask_decides_who_may_read_and_write(tmp_path):
    def write(folder):
        with replacing(folder / "a.txt") as temporary:
            temporary.write_text("a")

    before = os.umask(0o027)
    try:
        make_folder(tmp_path / "store", "key", write)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "store" / "a.txt").stat().st_mode) == 0o640


def test_space_is_asked_for_before_it_is_used(tmp_path):
    require_space(tmp_path / "not" / "yet", 1, "the plate")
    with pytest.raises(StoppedError, match=r": the plate needs about 1,000,000,000,000\.0 MB, but only .* are free"):
        require_space(tmp_path / "not" / "yet", 10**18, "the plate")
