"""Outputs appear whole or not at all, and unfinished work is found again."""

import hashlib
import os
import stat

import pytest

from equinuclei.checksums import digest, sha256
from equinuclei.errors import StoppedError
from equinuclei.runtime.files import (
    is_done,
    mark_done,
    replacing,
    require_space,
    scratch_folder,
    work_folder,
    write_json,
)


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path):
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
    with pytest.raises(RuntimeError), work_folder(target, "key") as folder:
        (folder / "first").touch()
        mark_done(folder, "first")
        raise RuntimeError
    assert not target.exists()
    with work_folder(target, "key") as folder:
        assert is_done(folder, "first") and not is_done(folder, "second")
    assert [path.name for path in target.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [target]


def test_work_of_another_key_is_stale(tmp_path):
    with pytest.raises(RuntimeError), work_folder(tmp_path / "a", "old code") as folder:
        mark_done(folder, "first")
        raise RuntimeError
    with work_folder(tmp_path / "a", "new code") as folder:
        assert not is_done(folder, "first")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_existing_target_wins(tmp_path):
    target = tmp_path / "a"
    with work_folder(target, "key") as folder:
        (folder / "late").touch()
        target.mkdir()
        (target / "first").touch()
    assert [path.name for path in target.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [target]


def test_an_empty_folder_is_no_target(tmp_path):
    (tmp_path / "a").mkdir()
    with work_folder(tmp_path / "a", "key") as folder:
        (folder / "x").touch()
    assert (tmp_path / "a" / "x").exists()


def test_a_scratch_folder_is_removed_at_the_end_alone(tmp_path):
    with pytest.raises(RuntimeError), scratch_folder(tmp_path / "a", "key") as folder:
        (folder / "checkpoint").touch()
        raise RuntimeError
    with scratch_folder(tmp_path / "a", "key") as folder:
        assert (folder / "checkpoint").exists()
    assert list(tmp_path.iterdir()) == []


def test_checksums(tmp_path):
    (tmp_path / "a").write_bytes(b"nuclei")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"nuclei").hexdigest()
    assert digest({"b": 1, "a": [2]}) == digest({"a": [2], "b": 1}) != digest({"a": [1], "b": 2})
    write_json(tmp_path / "a.json", {"µ": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "µ": 1\n}\n'


def test_the_umask_decides_who_may_read_and_write(tmp_path):
    before = os.umask(0o027)
    try:
        with work_folder(tmp_path / "store", "key") as folder, replacing(folder / "a.txt") as temporary:
            temporary.write_text("a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "store" / "a.txt").stat().st_mode) == 0o640


def test_space_is_asked_for_before_it_is_used(tmp_path):
    require_space(tmp_path / "not" / "yet", 1, "the plate")
    with pytest.raises(StoppedError, match=r": the plate takes about 1,000,000,000,000\.0 MB, and .* are free"):
        require_space(tmp_path / "not" / "yet", 10**18, "the plate")
