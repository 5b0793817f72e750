"""Outputs appear complete or not at all, and unfinished work is resumed."""

import hashlib
import os
import stat

import pytest

from equinuclei.checksums import digest, sha256
from equinuclei.errors import StoppedError
from equinuclei.runtime.files import (
    is_done,
    make_folder,
    mark_done,
    replacing,
    require_space,
    with_scratch_folder,
    write_json,
)


def stop_after_first(folder):
    """Finish one unit of work, then fail."""
    (folder / "first").touch()
    mark_done(folder, "first")
    raise RuntimeError


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
    assert [path.name for path in target.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [target]


def test_work_of_another_key_is_stale(tmp_path):
    with pytest.raises(RuntimeError):
        make_folder(tmp_path / "a", "old code", stop_after_first)

    def start_anew(folder):
        assert not is_done(folder, "first")

    make_folder(tmp_path / "a", "new code", start_anew)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_existing_target_wins(tmp_path):
    target = tmp_path / "a"

    def build(folder):
        (folder / "late").touch()
        target.mkdir()
        (target / "first").touch()

    make_folder(target, "key", build)
    assert [path.name for path in target.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [target]


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    make_folder(tmp_path / "a", "key", lambda folder: (folder / "x").touch())
    assert (tmp_path / "a" / "x").exists()


def test_a_scratch_folder_is_removed_only_when_the_work_is_done(tmp_path):
    with pytest.raises(RuntimeError):
        with_scratch_folder(tmp_path / "a", "key", stop_after_first)
    found = []
    with_scratch_folder(tmp_path / "a", "key", lambda folder: found.append((folder / "first").exists()))
    assert found == [True] and list(tmp_path.iterdir()) == []


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
