"""What unlock.sh does, against a squeue and a scancel that say what they are told."""

from pathlib import Path

import pytest

from equinuclei.errors import StoppedError
from equinuclei.runtime import controller, left_behind, owners
from equinuclei.runtime.controller import user_name
from equinuclei.runtime.left_behind import clear
from support.programs import Programs
from unit.runtime.test_controller import elsewhere

RUN, OTHER_RUN = "equinuclei_0a1b-2c", "equinuclei_9f-8e"


class Queue(Programs):
    """A queue of jobs: number, name, user and folder of each."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self.program("squeue", f"cat {folder / 'queue'}")
        # What is cancelled leaves the queue.
        self.program(
            "scancel",
            f'for job; do echo $job >> {folder / "cancelled"}; sed -i "/^$job|/d" {folder / "queue"}; done',
        )

    def holds(self, *jobs: tuple[str, str, str, Path | str]) -> None:
        (self.folder / "queue").write_text("".join("|".join(map(str, job)) + "\n" for job in jobs))

    @property
    def cancelled(self) -> list[str]:
        path = self.folder / "cancelled"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def queue(tmp_path, monkeypatch) -> Queue:
    monkeypatch.setattr(owners, "HEARTBEAT", 0.05)
    monkeypatch.setattr(controller, "LOOK", 0.02)
    return Queue(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def lab(tmp_path) -> Path:
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder


def lock(folder: Path) -> None:
    (folder / ".snakemake/locks").mkdir(parents=True)
    (folder / ".snakemake/locks/0.input.lock").touch()


def test_a_living_controller_of_another_host_and_user_is_left_alone(queue, lab):
    living = elsewhere(lab, "1", ["a.tsv"])
    living.add_job("17", RUN)
    queue.holds(("17", RUN, user_name(), lab))
    with pytest.raises(StoppedError, match=r"snakemake of anna on login2 .*, is working in .*: nothing is done"):
        clear(lab)
    assert queue.cancelled == [] and living.record.exists()


def test_the_jobs_of_a_dead_one_are_cancelled_and_its_record_is_cleared(queue, lab, capsys):
    dead = elsewhere(lab, "1", ["a.tsv"], age=600)
    dead.add_job("17", RUN)
    (lab.parent / "link").symlink_to(lab)
    me = user_name()
    queue.holds(
        ("17", RUN, me, "/a/mount/of/another/host"),
        ("18", OTHER_RUN, me, lab.parent / "link"),
        ("19", OTHER_RUN, me, lab.parent),
        ("20", "equinuclei-controller", me, lab),
        ("21", "another", me, lab),
    )
    clear(lab)
    assert queue.cancelled == ["17", "18"] and not dead.record.exists()
    said = capsys.readouterr().err
    assert "snakemake of anna on login2" in said and "left behind: 17 18" in said


def test_jobs_of_another_user_are_told_and_not_cancelled(queue, lab, capsys):
    elsewhere(lab, "1", ["a.tsv"], age=600).add_job("17", RUN)
    queue.holds(("17", RUN, "anna", lab), ("18", OTHER_RUN, "anna", lab.parent))
    # squeue itself selects: the first question is for this user's jobs, the second for those of the run.
    queue.program("squeue", f'case "$*" in *--user*) ;; *) grep {RUN} {queue.folder / "queue"} ;; esac')
    clear(lab)
    assert queue.cancelled == [] and "jobs of other users go on, which these alone can cancel: 17 of anna" in (
        capsys.readouterr().err
    )


def test_jobs_are_cancelled_where_only_a_lock_is_left(queue, lab):
    lock(lab)
    queue.holds(("17", RUN, user_name(), lab))
    clear(lab)
    assert queue.cancelled == ["17"]


def test_a_folder_where_nothing_is_left_asks_slurm_for_nothing(queue, lab):
    queue.program("squeue", f"touch {queue.folder / 'asked'}; exit 1")
    clear(lab)
    assert not (queue.folder / "asked").exists()


def test_where_slurm_does_not_answer_the_record_stays_for_the_next_time(queue, lab, capsys):
    dead = elsewhere(lab, "1", ["a.tsv"], age=600)
    queue.program("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    clear(lab)
    assert dead.record.exists() and "squeue does not answer (Unable to contact" in capsys.readouterr().err


def test_jobs_that_do_not_end_are_told(queue, lab, monkeypatch, capsys):
    monkeypatch.setattr(left_behind, "ENDING", 0.0)
    lock(lab)
    queue.holds(("17", RUN, user_name(), lab))
    queue.program("scancel", "exit 0")
    clear(lab)
    assert "still ending, though cancelled: 17" in capsys.readouterr().err
