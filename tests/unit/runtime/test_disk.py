"""What is synced, and what a disk answers."""

import ctypes
import errno
import os
from types import SimpleNamespace

import pytest

from equinuclei.runtime.disk import sync_file_system, sync_folder


def answering(code):
    """A C library whose `syncfs` fails with an error number."""

    def syncfs(_descriptor):
        ctypes.set_errno(code)
        return -1

    return lambda *_, **__: SimpleNamespace(syncfs=syncfs)


def test_a_file_system_is_synced_by_any_path_on_it(tmp_path, monkeypatch):
    all_synced = []
    monkeypatch.setattr(os, "sync", lambda: all_synced.append(True))
    (tmp_path / "a").write_text("a")
    sync_file_system(tmp_path)
    sync_file_system(tmp_path / "a")
    assert not all_synced  # this one alone


def test_what_could_not_be_kept_is_told_with_its_path(tmp_path, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", answering(errno.ENOSPC))
    with pytest.raises(OSError, match="No space") as told:
        sync_file_system(tmp_path)
    assert told.value.errno == errno.ENOSPC and told.value.filename == str(tmp_path)


@pytest.mark.parametrize("library", [answering(errno.ENOSYS), lambda *_, **__: SimpleNamespace()])
def test_where_one_file_system_cannot_be_synced_all_are(tmp_path, monkeypatch, library):
    synced = []
    monkeypatch.setattr(ctypes, "CDLL", library)
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    sync_file_system(tmp_path)
    assert synced


def test_a_folder_that_cannot_be_synced_is_no_fault(tmp_path, monkeypatch):
    for code, told in ((errno.EINVAL, False), (errno.EIO, True)):

        def fsync(_descriptor, code=code):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)
        if told:
            with pytest.raises(OSError, match="Input/output"):
                sync_folder(tmp_path)
        else:
            sync_folder(tmp_path)
