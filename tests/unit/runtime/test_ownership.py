"""Unfinished work has one owner at a time: others wait, a dead owner is replaced, a late one writes nothing."""

import errno
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

from equinuclei.checksums import RECORD
from equinuclei.errors import StoppedError
from equinuclei.runtime import owners, ownership
from equinuclei.runtime.files import is_done, make_folder, mark_done, with_scratch_folder

ROOT = Path(ownership.__file__).parents[2]


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(ownership, "POLL", 0.01)
    monkeypatch.setattr(owners, "HEARTBEAT", 0.02)


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def start(code, *arguments, stderr=None, **environment):
    """A Python process that has the library; it prints a line when it owns its work."""
    code = "from equinuclei.runtime import ownership; ownership.POLL = 0.01\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr, text=True, env=environment)


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


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD)


def lives(folder):
    """Whether a job that has just come takes the owner of a folder for alive."""
    return owners.Watch(folder.parent / "clock-me").lives(ownership._record(folder))


def never(_waited):
    return False


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
    assert names(tmp_path / "store") == list("abcdefgh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "store"]
    assert (tmp_path / "done").read_text() == "abcdefgh" and printed.count("made") == 1


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
    assert names(target) == ["x"] and list(tmp_path.iterdir()) == [target]


def test_a_job_takes_over_where_the_one_it_waits_for_fails(tmp_path, caplog):
    caplog.set_level("INFO")
    found, waiting = [], []

    def second():
        with_scratch_folder(
            tmp_path / "store", "key", lambda folder: found.append(is_done(folder, "first")), is_finished=never
        )

    with ThreadPoolExecutor(1) as pool:

        def first(folder):
            claim_elsewhere(folder)
            mark_done(folder, "first")
            waiting.append(pool.submit(second))
            until(lambda: "waiting" in caplog.text)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            with_scratch_folder(tmp_path / "store", "key", first, is_finished=never)
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
    assert lives(folder)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"started": "1"}))
    assert not lives(folder)


def test_an_owner_elsewhere_is_dead_when_its_heart_stops(tmp_path):
    def work(folder):
        record = claim_elsewhere(folder)
        os.utime(record, (1, 1))
        watch = owners.Watch(folder.parent / "clock-me")
        for _ in range(20):  # its heart beats, however old the record was
            assert watch.lives(record)
            time.sleep(0.01)

    with_scratch_folder(tmp_path / "store", "key", work, is_finished=never)
    folder = left_behind(tmp_path)
    os.utime(claim_elsewhere(folder), (1, 1))
    watch = owners.Watch(folder.parent / "clock-me")
    assert watch.lives(ownership._record(folder))  # seen once, it may still beat
    until(lambda: not watch.lives(ownership._record(folder)))


def left_behind(tmp_path):
    """A folder with the record of this process, which is not its owner any more."""
    folder = tmp_path / "base" / "aaa"
    folder.mkdir(parents=True, exist_ok=True)
    owners.write_owner(ownership._record(folder))
    return folder


@pytest.mark.parametrize("ahead", [0, 86400])  # a clock that was set back: the last beat lies in the future
def test_a_beat_that_never_changes_is_no_life(tmp_path, monkeypatch, ahead):
    monkeypatch.setattr(owners, "STALE", 0.1)
    folder = left_behind(tmp_path)
    record = claim_elsewhere(folder)
    now = time.time() + ahead
    os.utime(record, (now, now))
    watch = owners.Watch(folder.parent / "clock-me")
    assert watch.lives(record)
    until(lambda: not watch.lives(record))


def test_a_process_that_lives_is_never_robbed_on_its_own_host(tmp_path, holder, monkeypatch):
    """However long it is silent: its main thread may keep the heart from beating, or it is stopped."""
    monkeypatch.setattr(owners, "STALE", 0.05)
    folder = only_folder(tmp_path / "store")
    holder.send_signal(signal.SIGSTOP)
    until(lambda: ") T " in Path(f"/proc/{holder.pid}/stat").read_text())
    os.utime(ownership._record(folder), (1, 1))
    watch = owners.Watch(folder.parent / "clock-me")
    for _ in range(20):
        assert watch.lives(ownership._record(folder))
        time.sleep(0.01)


def test_two_owners_in_one_slurm_job_do_not_rob_each_other(tmp_path):
    """Two steps of an allocation, or two processes of a batch script, have the same job id."""
    environment = {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "1", "SLURM_JOB_START_TIME": "1000"}
    first = start(HOLDER, tmp_path / "store", **environment)
    assert first.stdout.readline() == "owns\n"
    second = start(
        "import logging; logging.basicConfig(level='INFO')\n" + textwrap.dedent(HOLDER), tmp_path / "store",
        stderr=subprocess.PIPE, **environment,
    )  # fmt: skip
    assert "waiting for its owner, SLURM job 17" in second.stderr.readline()
    first.communicate("go on")
    assert second.communicate()[0] == "" and (first.returncode, second.returncode) == (0, 0)
    assert names(tmp_path / "store") == ["first"]


@pytest.mark.parametrize(
    ("of_owner", "own", "lives_on"),
    [
        ({"job": "17", "restarts": 0, "start": 1000}, {"JOB_ID": "17", "JOB_START_TIME": "2000"}, False),  # requeued
        ({"job": "17", "restarts": 0}, {"JOB_ID": "17", "RESTART_COUNT": "1"}, False),  # a SLURM that tells no times
        ({"job": "17", "restarts": 1}, {"JOB_ID": "17", "RESTART_COUNT": "1"}, True),
        ({"job": "17", "restarts": 1}, {"JOB_ID": "17"}, True),  # a shell that has joined the job
        ({"job": "17", "restarts": None}, {"JOB_ID": "17", "RESTART_COUNT": "1"}, True),  # and one that owns the work
        ({"job": "17", "start": 5}, {"JOB_ID": "17", "JOB_START_TIME": "5", "RESTART_COUNT": "1"}, True),
        ({"job": "17", "restarts": 0}, {"JOB_ID": "18", "RESTART_COUNT": "1"}, True),
        ({"job": "17", "cluster": "a"}, {"JOB_ID": "17", "CLUSTER_NAME": "b", "RESTART_COUNT": "1"}, True),
        ({"job": "17"}, {"JOB_ID": "17", "RESTART_COUNT": "1"}, True),  # an earlier version's record
    ],
)  # fmt: skip
def test_a_job_that_slurm_started_again_is_told_from_another_step_of_it(tmp_path, monkeypatch, of_owner, own, lives_on):
    for name in ("JOB_ID", "JOB_START_TIME", "RESTART_COUNT", "CLUSTER_NAME"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
        if name in own:
            monkeypatch.setenv(f"SLURM_{name}", own[name])
    folder = left_behind(tmp_path)
    ownership._record(folder).write_text(json.dumps({"host": "another", "process": 1, "started": "1"} | of_owner))
    assert lives(folder) == lives_on


def test_the_first_start_of_a_job_is_told_from_a_shell_that_joins_it(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    for environment, restarts in (("BATCH", 0), ("", None)):
        monkeypatch.setenv("ENVIRONMENT", environment)
        assert json.loads(ownership._record(left_behind(tmp_path)).read_text())["restarts"] == restarts


@pytest.mark.parametrize("job, restarts", [("17", 2), ("18", None)])
def test_a_step_knows_which_start_of_its_job_it_is(tmp_path, monkeypatch, job, restarts):
    """Snakemake takes SLURM's variables away between a job and its step, which SLURM gives its id again."""
    for name, value in (("JOB_ID", "17"), ("RESTART_COUNT", "2")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.delenv("SLURM_JOB_START_TIME", raising=False)
    monkeypatch.setenv(owners._CARRIED, "")
    owners.carry_start()
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    monkeypatch.delenv("ENVIRONMENT", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", job)  # what a controller that is a job itself submits has another id
    owners.carry_start()
    assert json.loads(ownership._record(left_behind(tmp_path)).read_text())["restarts"] == restarts


def test_a_job_that_slurm_started_again_ends_its_earlier_process_even_where_that_lives(tmp_path, holder, monkeypatch):
    """A node that was lost and comes back: what ran there goes on, unseen by SLURM."""
    record = ownership._record(only_folder(tmp_path / "store"))
    record.write_text(json.dumps(json.loads(record.read_text()) | {"job": "17", "restarts": 0, "cluster": "lab"}))
    for name, value in (("JOB_ID", "17"), ("RESTART_COUNT", "1"), ("CLUSTER_NAME", "lab")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.delenv("SLURM_JOB_START_TIME", raising=False)
    make_folder(tmp_path / "store", "key", lambda folder: (folder / "second").touch())
    assert names(tmp_path / "store") == ["first", "second"]
    assert holder.communicate()[0] == "" and holder.returncode != 0


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"host": null}', "\0" * 40])
def test_of_a_broken_record_the_heartbeat_tells(tmp_path, content):
    folder = left_behind(tmp_path)
    record = ownership._record(folder)
    record.write_text(content)
    assert lives(folder) and owners.describe(record) == "another job"
    os.utime(record, (1, 1))
    watch = owners.Watch(folder.parent / "clock-me")
    until(lambda: not watch.lives(record))


def test_hosts_of_one_name_are_told_apart_by_their_boot(tmp_path, holder):
    """The first process-id namespace of every host has the same number, and images of machines share their names."""
    folder = only_folder(tmp_path / "store")
    record = ownership._record(folder)
    owner = json.loads(record.read_text())
    name, boot, namespace = owner["host"].split(" ")
    for other in (f"{name} 00000000-{boot[9:]} {namespace}", f"{name} {boot} pid:[1]"):
        # There, the same number is another process.
        record.write_text(json.dumps(owner | {"host": other, "started": "1"}))
        assert lives(folder)


def test_processes_that_a_host_hides_may_live(monkeypatch):
    monkeypatch.setattr(owners, "started", lambda process: None)

    def kill(process, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert owners._runs(1234, "5") is None


def test_a_full_disk_leaves_nothing_that_looks_like_an_owner(tmp_path, monkeypatch):
    def write_nothing(path, *_, **__):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Path, "write_text", write_nothing)
        make_folder(tmp_path / "store", "key", lambda _: None)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError):
        make_folder(tmp_path / "store", "key", lambda _: 1 / 0)
    base = next(tmp_path.glob(".store.work-*"))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Path, "write_text", write_nothing)
        make_folder(tmp_path / "store", "key", lambda _: None)
    assert not [path for path in base.iterdir() if path.is_file() and not path.name.startswith("clock-")]
    make_folder(tmp_path / "store", "key", lambda folder: (folder / "x").touch())
    assert names(tmp_path / "store") == ["x"] and names(tmp_path) == ["store"]


@pytest.mark.parametrize("step", ["write_owner", "unlink", "rename"])
def test_an_interrupted_take_over_is_taken_over(tmp_path, holder, monkeypatch, step):
    """A job is killed before one of the steps by which it becomes the owner, or after the last."""
    holder.kill()
    holder.wait()
    target = tmp_path / "store"
    code = f"""
        import os, sys
        from pathlib import Path
        from equinuclei.runtime import ownership
        from equinuclei.runtime.files import make_folder
        def die(*_, **__):
            os.kill(os.getpid(), 9)
        take_over = ownership._take_over
        def killed(base, old, token):
            if {step!r} == "write_owner":
                ownership.write_owner = die
            elif old is not None:
                setattr(Path, {step!r}, die)
            return take_over(base, old, token)
        ownership._take_over = killed
        make_folder(sys.argv[1], "key", lambda folder: None)
    """
    assert start(code, target).wait() == -signal.SIGKILL
    found = []
    make_folder(target, "key", lambda folder: found.append(is_done(folder, "first")))
    assert found == [True] and names(target) == ["first"] and names(tmp_path) == ["store"]


def test_a_process_that_could_not_remove_its_record_does_not_wait_for_itself(tmp_path, monkeypatch):
    def stale(path, **_):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Path, "unlink", stale)
        make_folder(tmp_path / "store", "key", lambda _: 1 / 0)
    make_folder(tmp_path / "store", "key", lambda folder: (folder / "x").touch())
    assert names(tmp_path / "store") == ["x"]


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
    assert (target / "x").read_text() == "x" and names(target) == ["x"]


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
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before and len(names(target)) == 2


def test_what_a_late_owner_wrote_to_its_former_name_is_not_taken_for_the_work(tmp_path):
    def fail(folder):
        mark_done(folder, "first")
        mark_done(folder, "second")
        (folder.parent / "0").mkdir()
        (folder.parent / "0" / "late").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_folder(tmp_path / "store", "key", fail)
    found = []
    make_folder(tmp_path / "store", "key", lambda folder: found.append(is_done(folder, "second")))
    assert found == [True] and names(tmp_path / "store") == []


def test_what_an_interrupted_removal_left_is_no_obstacle(tmp_path):
    for left in ((), ("owner-a",), ("clock-a",)):
        folders = []

        def fail(folder, folders=folders):
            folders.append(folder)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            with_scratch_folder(tmp_path / "a", "key", fail, is_finished=never)
        folders[0].rmdir()
        for name in left:
            (folders[0].parent / name).touch()
        contents = []
        with_scratch_folder(
            tmp_path / "a",
            "key",
            lambda folder, found=contents: found.append(list(folder.iterdir())),
            is_finished=never,
        )
        assert contents == [[]]
        assert list(tmp_path.iterdir()) == []
