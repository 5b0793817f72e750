"""Unfinished work has one owner at a time: others wait, a dead owner is replaced, a late one writes nothing."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from equinuclei.errors import StoppedError
from equinuclei.runtime import ownership
from equinuclei.runtime.files import is_done, make_folder, mark_done, with_scratch_folder

ROOT = Path(ownership.__file__).parents[2]


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(ownership, "POLL", 0.01)
    monkeypatch.setattr(ownership, "HEARTBEAT", 0.02)


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def start(code, *arguments):
    """A Python process that has the library; it prints a line when it owns its work."""
    code = "from equinuclei.runtime import ownership; ownership.POLL = 0.01\n" + textwrap.dedent(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


HOLDER = """
    import sys
    from equinuclei.runtime.files import make_folder, mark_done
    def build(folder):
        (folder / "first").write_text("1")
        mark_done(folder, "first")
        print("owns", flush=True)
        sys.stdin.read()
    make_folder(sys.argv[1], "key", build)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that owns the work on `tmp_path/store`, one of two units done."""
    process = start(HOLDER, tmp_path / "store")
    assert process.stdout.readline() == "owns\n"
    yield process
    process.kill()
    process.wait()


def claim_elsewhere(folder):
    """Let the owner of a folder be on another host, where only its heartbeat shows that it is alive."""
    record = ownership._record(folder)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"host": "another pid:[1]"}))
    return record


def only_folder(target):
    base = next(target.parent.glob(f".{target.name}.work-*"))
    return next(path for path in base.iterdir() if path.is_dir())


def test_many_processes_race_and_each_unit_is_done_once(tmp_path):
    code = """
        import sys, time
        from pathlib import Path
        from equinuclei.runtime.files import is_done, make_folder, mark_done
        def build(folder):
            for unit in "abcdefgh":
                if is_done(folder, unit):
                    continue
                with Path(sys.argv[2]).open("a") as file:
                    file.write(unit)
                time.sleep(0.01)
                (folder / unit).write_text(unit)
                mark_done(folder, unit)
            print("made")
        make_folder(sys.argv[1], "key", build)
    """
    processes = [start(code, tmp_path / "store", tmp_path / "done") for _ in range(6)]
    printed = [process.communicate()[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 6
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == list("abcdefgh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "store"]
    # A process that starts after another has finished repeats the work and discards it. Two never work at once.
    assert (tmp_path / "done").read_text() == "abcdefgh" * printed.count("made")


def test_a_second_job_waits_and_then_has_nothing_to_do(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    target, second = tmp_path / "store", []
    with ThreadPoolExecutor(1) as pool:

        def first(folder):
            claim_elsewhere(folder)
            waiting.append(pool.submit(make_folder, target, "key", second.append))
            until(lambda: "waiting for its owner, process" in caplog.text)
            (folder / "x").touch()
            assert not waiting[0].done()

        waiting = []
        make_folder(target, "key", first)
        waiting[0].result()
    assert second == []
    assert "finished by the job that this one waited for" in caplog.text
    assert [path.name for path in target.iterdir()] == ["x"] and list(tmp_path.iterdir()) == [target]


def test_a_job_takes_over_where_the_one_it_waits_for_fails(tmp_path, caplog):
    caplog.set_level("INFO")
    found, waiting = [], []

    def second():
        with_scratch_folder(tmp_path / "store", "key", lambda folder: found.append(is_done(folder, "first")))

    with ThreadPoolExecutor(1) as pool:

        def first(folder):
            claim_elsewhere(folder)
            mark_done(folder, "first")
            waiting.append(pool.submit(second))
            until(lambda: "waiting" in caplog.text)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            with_scratch_folder(tmp_path / "store", "key", first)
        waiting[0].result()
    assert found == [True]


def test_a_dead_process_of_this_host_is_replaced_at_once(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    def resume(folder):
        assert is_done(folder, "first") and (folder / "first").read_text() == "1"

    make_folder(tmp_path / "store", "key", resume)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_process_id_that_is_reused_belongs_to_another_process(tmp_path, holder):
    folder = only_folder(tmp_path / "store")
    record = ownership._record(folder)
    assert ownership._lives(folder, folder.parent, "me")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"started": "1"}))
    assert not ownership._lives(folder, folder.parent, "me")


def test_an_owner_elsewhere_is_dead_when_its_heart_stops(tmp_path):
    folders = []

    def work(folder):
        folders.append(folder)
        record = claim_elsewhere(folder)
        os.utime(record, (1, 1))
        until(lambda: ownership._lives(folder, folder.parent, "me"))  # its heart beats: the file is new again
        ownership._beat(record, type("Stopped", (), {"wait": lambda self, seconds: True})())
        assert ownership._lives(folder, folder.parent, "me")

    with_scratch_folder(tmp_path / "store", "key", work)
    (folder,) = folders
    (folder / "x").mkdir(parents=True)
    ownership._write_record(folder)
    os.utime(claim_elsewhere(folder), (1, 1))
    assert not ownership._lives(folder, folder.parent, "me")


def test_a_job_that_slurm_started_again_does_not_wait_for_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")

    def work(folder):
        claim_elsewhere(folder)
        assert not ownership._lives(folder, folder.parent, "me")
        monkeypatch.setenv("SLURM_JOB_ID", "18")
        assert ownership._lives(folder, folder.parent, "me")

    with_scratch_folder(tmp_path / "store", "key", work)


def test_a_late_owner_writes_nothing(tmp_path):
    target = tmp_path / "store"

    def work_late(late):
        (late / "x").write_text("late")
        os.utime(claim_elsewhere(late), (1, 1))
        ownership._record(late).unlink()  # it sleeps, so that its heart does not beat

        def take_over(folder):
            (folder / "x").write_text("x")
            (late / "c").mkdir(parents=True)  # as a library does that creates missing folders
            with pytest.raises(StoppedError):
                mark_done(late, "late")
            mark_done(folder, "x")

        make_folder(target, "key", take_over)

    with pytest.raises(StoppedError, match="another job took over"):
        make_folder(target, "key", work_late)
    assert (target / "x").read_text() == "x" and [path.name for path in target.iterdir()] == ["x"]


def test_a_process_that_was_stopped_and_wakes_up_writes_nothing(tmp_path, holder):
    target = tmp_path / "store"
    holder.send_signal(signal.SIGSTOP)
    until(lambda: ") T " in Path(f"/proc/{holder.pid}/stat").read_text())
    os.utime(claim_elsewhere(only_folder(target)), (1, 1))

    def finish(folder):
        assert is_done(folder, "first")
        (folder / "second").write_text("2")

    make_folder(target, "key", finish)
    before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
    holder.send_signal(signal.SIGCONT)
    holder.communicate()
    assert holder.returncode != 0
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before and len(before) == 2


def test_what_an_interrupted_removal_left_is_no_obstacle(tmp_path):
    for left in ((), ("owner-a",), ("clock-a",)):
        folders = []

        def fail(folder, folders=folders):
            folders.append(folder)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            with_scratch_folder(tmp_path / "a", "key", fail)
        folders[0].rmdir()
        for name in left:
            (folders[0].parent / name).touch()
        contents = []
        with_scratch_folder(tmp_path / "a", "key", lambda folder, found=contents: found.append(list(folder.iterdir())))
        assert contents == [[]]
        assert list(tmp_path.iterdir()) == []
