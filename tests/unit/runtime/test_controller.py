"""Records of controllers: who lives, and what is said of whom."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from equinuclei.errors import StoppedError
from equinuclei.runtime import controller, owners
from equinuclei.runtime.controller import FOLDER, Caller, Controller, announce, find_controllers, snakemakes_here


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(owners, "HEARTBEAT", 0.05)
    monkeypatch.setattr(controller, "LOOK", 0.02)


def elsewhere(folder: Path, name: str, outputs: list[str], age: float = 0.0) -> Controller:
    """A controller of another host and user whose heart beat some seconds ago."""
    records = folder / FOLDER
    records.mkdir(parents=True, exist_ok=True)
    record = records / f"owner-{name}"
    record.write_text(json.dumps({"host": "login2 another-boot pid:[1]", "process": 77, "started": "1", "job": None}))
    about = {"user": "anna", "since": "2026-01-02 03:04", "of_job": "91", "outputs": outputs}
    (records / f"about-{name}.json").write_text(json.dumps(about))
    os.utime(record, (time.time() - age,) * 2)
    return Controller(record)


def test_a_controller_is_seen_while_it_is_there(tmp_path):
    presence = announce(tmp_path, ["a.tsv"], None)
    (living,), dead = find_controllers(tmp_path)
    assert living == presence.controller and not dead and living.about["process"] == os.getpid()
    presence.end()
    assert list((tmp_path / FOLDER).iterdir()) == [] and find_controllers(tmp_path) == ([], [])


def test_its_heart_beats(tmp_path):
    presence = announce(tmp_path, [], None)
    before = presence.controller.record.stat().st_mtime
    end = time.monotonic() + 30
    while presence.controller.record.stat().st_mtime == before:
        assert time.monotonic() < end
        time.sleep(0.01)
    presence.end()


def test_one_that_was_killed_is_dead_at_once(tmp_path):
    code = f"from equinuclei.runtime.controller import announce; announce({str(tmp_path)!r}, ['a.tsv'], None); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    while not list(tmp_path.glob(f"{FOLDER}/owner-*")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    living, (dead,) = find_controllers(tmp_path)
    assert not living and dead.about["process"] == process.pid


def test_one_of_another_host_lives_as_long_as_its_heart_beats(tmp_path):
    fresh, silent = elsewhere(tmp_path, "1", [], age=60), elsewhere(tmp_path, "2", [], age=600)
    assert find_controllers(tmp_path) == ([fresh], [silent])
    assert str(fresh) == "snakemake of anna on login2 (process 77, SLURM job 91), since 2026-01-02 03:04"


def test_a_second_one_that_would_make_the_same_files_does_not_begin(tmp_path):
    elsewhere(tmp_path, "1", ["a.tsv", "b.tsv"])
    with pytest.raises(StoppedError, match=r"snakemake of anna on login2 .* makes the same files and is alive"):
        announce(tmp_path, ["b.tsv", "c.tsv"], None)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["about-1.json", "owner-1"]


def test_a_second_one_that_makes_other_files_begins(tmp_path):
    other = elsewhere(tmp_path, "1", ["a.tsv"])
    announce(tmp_path, ["b.tsv"], None).end()
    assert find_controllers(tmp_path) == ([other], [])


def test_a_dead_one_that_left_jobs_is_told_and_any_other_cleared(tmp_path, capsys):
    with_jobs, without = elsewhere(tmp_path, "1", ["a.tsv"], age=600), elsewhere(tmp_path, "2", ["a.tsv"], age=600)
    with_jobs.add_job("17", "equinuclei_1")
    announce(tmp_path, ["a.tsv"], None).end()
    assert "since 2026-01-02 03:04, ended without a word. scripts/unlock.sh cancels" in capsys.readouterr().err
    assert with_jobs.record.exists() and not without.record.exists()


def test_one_that_was_taken_for_dead_ends_when_it_goes_on(tmp_path, monkeypatch, capsys):
    killed = []
    monkeypatch.setattr(os, "kill", lambda process, number: killed.append((process, number)))
    presence = announce(tmp_path, [], None)
    presence.controller.clear()
    presence._thread.join(30)
    assert killed == [(os.getpid(), signal.SIGINT)]
    assert "took this one for dead" in capsys.readouterr().err
    presence.end()
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_one_that_is_interrupted_says_so_to_the_programs_that_it_called(tmp_path):
    presence = announce(tmp_path, [], None)
    caller = Caller(os.getpid(), owners.started(os.getpid()), presence.controller)
    assert caller.submits()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert caller.runs() and not caller.submits()
    presence.end()


def test_a_record_that_somebody_removed_is_written_again(tmp_path):
    presence = announce(tmp_path, ["a.tsv"], None)
    presence.controller.record.unlink()
    end = time.monotonic() + 30
    while not presence.controller.record.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    presence.end()


def test_a_broken_record_is_no_controller_for_ever(tmp_path):
    broken = elsewhere(tmp_path, "1", [], age=600)
    broken.record.write_text("")
    os.utime(broken.record, (time.time() - 600,) * 2)
    broken.beside("about", ".json").write_text("{")
    assert find_controllers(tmp_path) == ([], [broken])
    assert "an unknown user on an unknown host" in str(broken)


@pytest.mark.parametrize(
    "words, is_one",
    [
        (["snakemake", "study"], True),
        (["snakemake", "study", "--target-jobs", "train_model:"], False),
        (["other.py", ".snakemake/log/1.snakemake.log"], False),
    ],
)
def test_a_snakemake_is_known_by_its_program(tmp_path, words, is_one):
    script = tmp_path / words[0]
    script.write_text("input('begun')\n")
    command, pipes = [sys.executable, script, *words[1:]], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=tmp_path, **pipes)
    assert process.stdout.read(5) == b"begun"
    found = list(snakemakes_here(tmp_path))
    elsewhere = list(snakemakes_here(tmp_path.parent))
    process.communicate(b"\n")
    assert found == ([process.pid] if is_one else []) and process.pid not in elsewhere


def test_what_only_names_snakemake_is_none(tmp_path):
    log = tmp_path / ".snakemake/log/1.snakemake.log"
    log.parent.mkdir(parents=True)
    log.touch()
    reader = subprocess.Popen(["tail", "-f", log], cwd=tmp_path, stdout=subprocess.DEVNULL)
    shell = subprocess.Popen(["sh", "-c", "read line; : python -m snakemake"], cwd=tmp_path, stdin=subprocess.PIPE)
    found = list(snakemakes_here(tmp_path))
    reader.kill(), shell.communicate(b"\n"), reader.wait()
    assert found == []
