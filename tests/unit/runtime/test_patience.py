"""Programs of SLURM that are called until it answers, against programs that say what SLURM says."""

import os
import subprocess
import sys

import pytest

from equinuclei.runtime import patience
from equinuclei.runtime.controller import CALLER, Caller, Controller
from equinuclei.runtime.owners import started
from equinuclei.runtime.patience import Call, is_transient, stand_first
from support.programs import Programs

NO_CONTACT = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
NO_ROOM = (
    "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
    "accounting/QOS policy (job submit limit, user's size and/or time limits)"
)
JOB = ["--parsable", "--job-name", "equinuclei_1", "--comment", "rule_train_model_wildcards_a", "--wrap=true"]


class Slurm(Programs):
    """Programs that give one answer after the other, the last one again and again."""

    def answers(self, program: str, *answers: tuple[int, str, str]) -> None:
        """Exit status, and what is said on the two channels, of each call."""
        for number, (status, out, err) in enumerate(answers, 1):
            (self.folder / f"{program}.{number}").write_text(f"echo '{out}'; echo \"{err}\" >&2; exit {status}\n")
        path = self.folder / program
        self.program(
            program,
            f"""echo "$*" >> {path}.calls
number=$(wc -l < {path}.calls)
[ "$number" -gt {len(answers)} ] && number={len(answers)}
. {path}.$number""",
        )

    def calls(self, program: str) -> list[str]:
        path = self.folder / f"{program}.calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Slurm:
    monkeypatch.setattr(patience, "PAUSE", 0.0)
    return Slurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def caller(tmp_path) -> Caller:
    record = tmp_path / "lab/.snakemake/controllers/owner-1"
    record.parent.mkdir(parents=True)
    return Caller(os.getpid(), started(os.getpid()), Controller(record))


def said(caller: Caller) -> str:
    """What the controller is to say."""
    path = caller.controller.beside("said")
    return path.read_text() if path.exists() else ""


def called(capfdbinary, program: str, arguments: list[str], caller: Caller | None) -> tuple[int, str, str]:
    """Status and words of a call of a program with patience."""
    status = Call(program, arguments, caller).run()
    sys.stdout.flush(), sys.stderr.flush()
    out, err = capfdbinary.readouterr()
    return status, out.decode().strip(), err.decode().strip()


def test_an_answer_is_passed_on_as_it_is(slurm, caller, capfdbinary):
    slurm.answers("sbatch", (0, "17;one", ""))
    assert called(capfdbinary, "sbatch", JOB, caller) == (0, "17;one", "")
    assert slurm.calls("sbatch") == [" ".join(JOB)] and caller.controller.jobs() == {"17": "equinuclei_1"}


@pytest.mark.parametrize(
    "refusal",
    [
        "Batch job submission failed: Invalid partition name specified",
        "Batch job submission failed: Invalid account or account/partition combination specified",
        "Batch job submission failed: Invalid qos specification",
        "Batch job submission failed: Requested node configuration is not available",
        "Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
        "QOSMaxWallDurationPerJobLimit\nBatch job submission failed: Job violates accounting/QOS policy (job submit "
        "limit, user's size and/or time limits)",
    ],
)
def test_what_slurm_refuses_for_good_fails_at_once_with_its_words(slurm, caller, capfdbinary, refusal):
    slurm.answers("sbatch", (1, "", refusal))
    status, out, err = called(capfdbinary, "sbatch", JOB, caller)
    assert (status, out, err) == (1, "", refusal) and len(slurm.calls("sbatch")) == 1


def test_a_submission_without_an_answer_is_repeated_when_slurm_knows_no_such_job(slurm, caller, capfdbinary):
    slurm.answers("sbatch", (1, "", NO_CONTACT), (1, "", NO_CONTACT), (0, "18", ""))
    slurm.answers("squeue", (1, "", "slurm_load_jobs error: Unable to contact slurm controller"), (0, "", ""))
    assert called(capfdbinary, "sbatch", JOB, caller) == (0, "18", "")
    assert caller.controller.jobs() == {"18": "equinuclei_1"} and len(slurm.calls("sbatch")) == 3


def test_a_submission_that_was_accepted_without_an_answer_is_not_repeated(slurm, caller, capfdbinary):
    slurm.answers("sbatch", (1, "", TIMED_OUT))
    # 16 is an attempt that failed, 19 another job of the run; 18 appears while SLURM works through what piled up.
    before = "16|rule_train_model_wildcards_a\n19|rule_train_model_wildcards_ab"
    slurm.answers("squeue", (0, before, ""), (0, f"{before}\n18|rule_train_model_wildcards_a", ""))
    caller.controller.add_job("16", "equinuclei_1")
    status, out, _ = called(capfdbinary, "sbatch", JOB, caller)
    assert (status, out) == (0, "18") and len(slurm.calls("sbatch")) == 1
    assert caller.controller.jobs() == {"16": "equinuclei_1", "18": "equinuclei_1"}


def test_of_two_jobs_that_were_made_all_the_same_one_is_cancelled(slurm, caller, capfdbinary):
    slurm.answers("sbatch", (1, "", TIMED_OUT), (0, "21", ""))
    both = "20|rule_train_model_wildcards_a\n21|rule_train_model_wildcards_a"
    slurm.answers("squeue", (0, "", ""), (0, "", ""), (0, both, ""))
    slurm.answers("scancel", (0, "", ""))
    status, out, _ = called(capfdbinary, "sbatch", JOB, caller)
    assert (status, out) == (0, "20") and slurm.calls("scancel") == ["21"]
    assert caller.controller.jobs() == {"20": "equinuclei_1"}


def test_a_full_queue_is_waited_for(slurm, caller, capfdbinary):
    slurm.answers("sbatch", (1, "", NO_ROOM), (0, "22", ""))
    assert called(capfdbinary, "sbatch", JOB, caller) == (0, "22", "")
    assert "SLURM takes no more jobs now (QOSMaxSubmitJobPerUserLimit)" in said(caller)


def test_it_is_told_but_not_with_every_try(slurm, caller, capfdbinary):
    slurm.answers("sbatch", *[(1, "", NO_CONTACT)] * 4, (0, "23", ""))
    slurm.answers("squeue", (0, "", ""))
    assert called(capfdbinary, "sbatch", JOB, caller) == (0, "23", "")
    before, after = said(caller).splitlines()
    assert "SLURM does not answer" in before and "no attempt of a job is used up" in before
    assert "SLURM answers again" in after


def test_nothing_is_submitted_for_a_controller_that_has_ended(slurm, caller, capfdbinary):
    slurm.answers("sbatch", (1, "", NO_CONTACT), (0, "24", ""))
    gone = Caller(caller.process, "another time", caller.controller)
    status, _, err = called(capfdbinary, "sbatch", JOB, gone)
    assert (status, err) == (1, NO_CONTACT) and len(slurm.calls("sbatch")) == 1


def test_nothing_is_submitted_for_a_controller_that_was_interrupted(slurm, caller, capfdbinary):
    slurm.answers("sbatch", (1, "", NO_CONTACT), (0, "24", ""))
    slurm.answers("scancel", (1, "", NO_CONTACT), (0, "", ""))
    caller.controller.beside("ending").touch()
    assert called(capfdbinary, "sbatch", JOB, caller)[0] == 1 and len(slurm.calls("sbatch")) == 1
    assert called(capfdbinary, "scancel", ["23"], caller)[0] == 0 and len(slurm.calls("scancel")) == 2


def test_a_query_of_jobs_that_fails_is_repeated_whatever_the_reason(slurm, caller, capfdbinary):
    slurm.answers("squeue", (1, "", "what is this?"), (0, "25|RUNNING", ""))
    assert called(capfdbinary, "squeue", ["--name", "equinuclei_1"], caller)[:2] == (0, "25|RUNNING")


def test_a_job_that_waits_for_a_person_is_told_once(slurm, caller, capfdbinary):
    slurm.answers("squeue", (0, "27|PENDING", ""), (0, "27|rule_a|launch failed requeued held\n28|rule_b|Priority", ""))
    for _ in range(2):
        assert called(capfdbinary, "squeue", ["--name", "equinuclei_1"], caller)[0] == 0
    (line,) = said(caller).splitlines()
    assert "job 27 (rule_a) waits for a person, SLURM says: launch failed requeued held" in line
    assert "scontrol release 27" in line


@pytest.mark.parametrize("reason", ["Priority", "Resources", "Dependency", "QOSMaxJobsPerUserLimit", "BeginTime"])
def test_a_job_that_waits_for_its_turn_is_not_told(slurm, caller, capfdbinary, reason):
    slurm.answers("squeue", (0, f"27|rule_a|{reason}", ""))
    called(capfdbinary, "squeue", ["--name", "equinuclei_1"], caller)
    assert not said(caller)


def test_where_no_accounts_are_kept_squeue_answers_for_sacct(slurm, caller, capfdbinary):
    slurm.answers("sacct", (1, "", "Slurm accounting storage is disabled"))
    slurm.answers("squeue", (1, "", NO_CONTACT), (0, "25|RUNNING", ""))
    assert called(capfdbinary, "sacct", ["-X", "--name", "equinuclei_1"], caller)[:2] == (0, "25|RUNNING")
    assert set(slurm.calls("squeue")[:2]) == {"--noheader --states=all --name=equinuclei_1 --format=%i|%T"}


def test_patience_ends(slurm, caller, capfdbinary, monkeypatch):
    monkeypatch.setattr(patience, "PAUSE", 51.0)
    slurm.answers("squeue", (1, "", NO_CONTACT))
    status, _, err = called(capfdbinary, "squeue", ["--name", "equinuclei_1"], caller)
    assert (status, err) == (1, NO_CONTACT) and len(slurm.calls("squeue")) == 1


def test_other_questions_fail_as_they_do(slurm, caller, capfdbinary):
    slurm.answers("sacct", (1, "", "sacct: invalid option -- '1'"))
    assert called(capfdbinary, "sacct", ["-1"], caller)[0] == 1 and len(slurm.calls("sacct")) == 1


@pytest.mark.parametrize("said", [NO_CONTACT, TIMED_OUT, NO_ROOM, "Slurm temporarily unable to accept job, sleeping"])
def test_what_may_be_over_in_a_while(said):
    assert is_transient(said)


def test_the_programs_stand_before_those_of_slurm_and_jobs_inherit_nothing_of_it(slurm, caller, monkeypatch, tmp_path):
    seen = tmp_path / "seen"
    slurm.answers("sbatch", (0, "26", ""))
    (slurm.folder / "sbatch.1").write_text(f"cat > {seen}; env >> {seen}; echo 26\n")
    for name in ("PATH", CALLER, "EQUINUCLEI_PYTHON"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.delenv("EQUINUCLEI_REQUIRE_CLUSTER", raising=False)
    stand_first(caller.controller)
    environment = os.environ | {"PYTHONPATH": str(patience.PROGRAMS.parents[1])}
    command = ["sbatch", *JOB[:-1], "/dev/stdin"]
    run = subprocess.run(command, input="#!/bin/sh\n", capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.strip() == "26" and seen.read_text().startswith("#!/bin/sh\n")
    assert "EQUINUCLEI" not in seen.read_text() and str(patience.PROGRAMS) not in seen.read_text()
    assert caller.controller.jobs() == {"26": "equinuclei_1"}
