"""Programs of SLURM, called until SLURM answers: for the controller, which would take its silence for failed jobs.

    python -m equinuclei.runtime.patience PROGRAM ARGUMENTS...

Snakemake submits with `sbatch` and looks at its jobs with `squeue`. Where these fail, because the controller of SLURM
is restarted or takes no more jobs now, it counts a failed attempt of the job, or forgets the job. `scripts/slurm/`
holds programs of the same names that stand first on its PATH (`stand_first`) and come here. What SLURM refuses for good
fails at once, with SLURM's words.

A submission that got no answer may have been accepted all the same. Before it is repeated, `squeue` must twice say that
it was not: by name (the run) and comment (rule and wildcards), which no two jobs of a run share at a time, leaving out
the jobs that the run had before.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from equinuclei.runtime.controller import CALLER, Caller, Controller

PROGRAMS = Path(__file__).resolve().parents[2] / "scripts/slurm"

PAUSE = 10.0
"""Seconds between two tries."""

TOLD_EVERY = 60.0
"""Seconds between two messages that SLURM does not answer."""

ONE_CALL = 90.0
"""Seconds after which a single call is given up: the programs themselves give up after SLURM's MessageTimeout."""

SUBMIT = ("sbatch", "sinfo", "sacctmgr")
"""What Snakemake calls to submit a job: it waits for their answer, however long that takes."""

PATIENCE = {"sbatch": 86_400.0, "sinfo": 86_400.0, "sacctmgr": 3600.0, "squeue": 50.0, "sacct": 50.0, "scancel": 50.0}
"""Seconds for which each program is tried. Snakemake gives a query and a cancellation a minute; queries it repeats
(`slurm-status-attempts` in the profile)."""

_NO_ANSWER = re.compile(
    "unable to contact slurm|socket timed out|connection (refused|timed out|reset)|connect failure|no route to host"
    "|network is unreachable|name resolution|unable to resolve|zero bytes were transmitted|not connected"
    "|communication (connection|shutdown|backoff)|message (send|receive) failure|standby mode|shutting down"
    "|resource temporarily unavailable|temporarily unable|presently disabled|rate limit|try again"
    "|munge.*(socket|connect|failed to (access|connect))|i/o error writing|cannot allocate memory|too many open files"
    "|database is busy|stale file handle|input/output error",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(r"\b(Assoc|QOS)\w*Submit\w*|job submit limit reached|maximum number of jobs", re.IGNORECASE)
"""Limits on the number of submitted jobs. SLURM's general words for broken policies name size and time limits too,
which no waiting mends."""

_HELD = re.compile(
    "held|hold|never ?satisfied|bad ?constraints|partition(time|node)limit|invalid(account|qos)|notallowed"
    r"|max\w*perjob|maxmemperlimit",
    re.IGNORECASE,
)
"""Why SLURM lets a job wait until a person does something (`%r` of `squeue`)."""


def stand_first(controller: Controller) -> None:
    """Let this process, a controller, find the programs of `scripts/slurm` before those of SLURM."""
    os.environ["PATH"] = os.pathsep.join([str(PROGRAMS), _path_behind()])
    os.environ["EQUINUCLEI_PYTHON"] = sys.executable
    os.environ[CALLER] = Caller.describe(controller)


def is_transient(said: str) -> bool:
    """Whether what a program of SLURM said of its failure may be over in a while."""
    return bool(_NO_ANSWER.search(said) or _NO_ROOM.search(said))


@dataclass
class Call:
    """One call of a program of SLURM. `caller` : who calls; without one nobody is told, and nothing recorded."""

    program: str
    arguments: Sequence[str]
    caller: Caller | None
    given: bytes | None = None
    began: float = field(default_factory=time.monotonic)
    has_waited: bool = False

    def run(self) -> int:
        """Call until there is an answer, pass that on, and return its exit status."""
        answer = self._submit() if self.program == "sbatch" and self._job else self._ask()
        sys.stdout.buffer.write(answer.stdout)
        sys.stderr.buffer.write(answer.stderr)
        return answer.returncode

    def _ask(self) -> subprocess.CompletedProcess[bytes]:
        # Snakemake drops the jobs of a query that fails, for whatever reason.
        of_jobs = self.program in ("squeue", "sacct") and "--name" in self.arguments
        while True:
            answer = self._once(self.program, *self.arguments)
            if of_jobs and self.program == "sacct" and answer.returncode != 0:
                answer = self._ask_the_queue()
            is_final = answer.returncode == 0 or not (of_jobs or is_transient(_said(answer)))
            if is_final or not self._wait(answer):
                if self.has_waited and is_final:
                    self._tell_the_end()
                if of_jobs and self.caller is not None and answer.returncode == 0:
                    self._tell_of_held_jobs(self.caller)
                return answer

    def _tell_of_held_jobs(self, caller: Caller) -> None:
        """Say which jobs wait for a person, once each: Snakemake sees that they wait, and not for what."""
        run = self.arguments[list(self.arguments).index("--name") + 1]
        waiting = self._once("squeue", "--noheader", "--states=PENDING", f"--name={run}", "--format=%i|%k|%r")
        for line in waiting.stdout.decode(errors="replace").splitlines():
            job, _, rest = line.strip().partition("|")
            comment, _, reason = rest.rpartition("|")
            if _HELD.search(reason):
                caller.tell_once(
                    f"job {job} ({comment}) waits for a person, SLURM says: {reason}. Ask it for more with `scontrol "
                    f"show job {job}`; then `scontrol release {job}`, or `scancel {job}` to have it submitted again"
                )

    def _ask_the_queue(self) -> subprocess.CompletedProcess[bytes]:
        """What `squeue` answers to a question about the jobs of a run that `sacct` cannot answer.

        While SLURM's controller is away, Snakemake turns to `sacct`, and asks nothing else until that has answered: on
        a cluster that keeps no accounts, never.
        """
        run = self.arguments[list(self.arguments).index("--name") + 1]
        return self._once("squeue", "--noheader", "--states=all", f"--name={run}", "--format=%i|%T")

    def _submit(self) -> subprocess.CompletedProcess[bytes]:
        while True:
            answer = self._once("sbatch", *self.arguments)
            if answer.returncode == 0:
                return self._recorded(answer)
            if not is_transient(_said(answer)) or not self._wait(answer):
                return answer
            if _NO_ROOM.search(_said(answer)):
                continue
            accepted = self._accepted_after_all()
            if accepted is None:
                return answer
            if accepted:
                return self._recorded(subprocess.CompletedProcess([], 0, f"{accepted[0]}\n".encode(), b""))

    def _accepted_after_all(self) -> list[str] | None:
        """The jobs that an unanswered submission made; None if that is not to be known.

        SLURM is asked twice: it may still work through what piled up while it did not answer.
        """
        for is_second in (False, True):
            while (jobs := self._unknown_jobs()) is None:
                if not self._wait(None):
                    return None
            if jobs:
                return jobs
            if not is_second:
                time.sleep(PAUSE)
        return []

    def _recorded(self, answer: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[bytes]:
        """The answer to an accepted submission, once its job is known. Of two jobs that were made, one is cancelled."""
        number = answer.stdout.decode(errors="replace").strip().split(";")[0]
        if self.has_waited:
            self._tell_the_end()
            earlier, *later = sorted({number, *(self._unknown_jobs() or ())}, key=_as_number)
            if later:
                self._once("scancel", *later)
                number, answer = earlier, subprocess.CompletedProcess([], 0, f"{earlier}\n".encode(), b"")
        if self.caller is not None and self._job is not None:
            self.caller.controller.add_job(number, self._job[0])
        return answer

    def _unknown_jobs(self) -> list[str] | None:
        """Numbers of the jobs with this name and comment that are not recorded; None if SLURM does not answer."""
        assert self._job is not None
        name, comment = self._job
        asked = ("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%i|%k")
        answer = self._once(*asked)
        if answer.returncode != 0:
            return None
        known = {} if self.caller is None else self.caller.controller.jobs()
        rows = (line.strip().partition("|") for line in answer.stdout.decode(errors="replace").splitlines())
        return sorted({job for job, _, text in rows if text == comment and job not in known}, key=_as_number)

    @cached_property
    def _job(self) -> tuple[str, str] | None:
        """Name and comment of the job that is to be submitted, if it has both."""
        given = dict(zip(self.arguments, self.arguments[1:], strict=False))
        names = (given.get("--job-name"), given.get("--comment"))
        return None if names[0] is None or names[1] is None else (names[0], names[1])

    def _wait(self, answer: subprocess.CompletedProcess[bytes] | None) -> bool:
        """Pause before the next try, and tell about it. False if there is to be none."""
        if self.caller is not None and not (self.caller.submits() if self.program in SUBMIT else self.caller.runs()):
            return False  # nobody would look after the job
        if time.monotonic() - self.began + PAUSE > PATIENCE.get(self.program, 0.0):
            return False
        self.has_waited = True
        if self.caller is not None and answer is not None:
            self.caller.tell(f"{self._reason(answer)}; no attempt of a job is used up", TOLD_EVERY)
        time.sleep(PAUSE)
        return True

    def _reason(self, answer: subprocess.CompletedProcess[bytes]) -> str:
        said = _said(answer).strip().splitlines() or ["it says nothing"]
        if limit := _NO_ROOM.search(_said(answer)):
            return f"SLURM takes no more jobs now ({limit[0]}): jobs are submitted when it does"
        return f"SLURM does not answer ({self.program}: {said[-1]}): it is asked again until it does"

    def _tell_the_end(self) -> None:
        if self.caller is not None:
            self.caller.tell_the_end("SLURM answers again")

    def _once(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        found = shutil.which(program, path=_path_behind())
        if found is None:
            return subprocess.CompletedProcess([], 127, b"", f"{program}: command not found\n".encode())
        limit = ONE_CALL if self.program in SUBMIT else PATIENCE.get(self.program, ONE_CALL)
        try:
            return subprocess.run(
                [found, *arguments],
                input=self.given if self.given is not None and program == self.program else b"",
                capture_output=True,
                env=_environment(),
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess([], 1, b"", f"{program}: Socket timed out\n".encode())
        except OSError as error:  # no memory for a process, a program on a file server that does not answer
            return subprocess.CompletedProcess([], 1, b"", f"{program}: {error}\n".encode())


def _said(answer: subprocess.CompletedProcess[bytes]) -> str:
    return answer.stderr.decode(errors="replace")


def _as_number(job: str) -> tuple[int, str]:
    digits = re.match(r"\d+", job)
    return (int(digits[0]) if digits else 0, job)


def _path_behind() -> str:
    """PATH without the folders of these programs, as a program that called itself would never end."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if Path(folder).resolve() != PROGRAMS)


def _environment() -> dict[str, str]:
    """The environment of SLURM's program, which a job inherits: without what is meant for the controller alone."""
    kept = {name: value for name, value in os.environ.items() if name not in (CALLER, "EQUINUCLEI_PYTHON")}
    return kept | {"PATH": _path_behind()}


def main() -> int:
    """Call the program that the arguments name, and return its exit status."""
    program, *arguments = sys.argv[1:]
    given = None
    if program == "sbatch" and "/dev/stdin" in arguments:
        given = sys.stdin.buffer.read()
    with suppress(KeyboardInterrupt):
        return Call(program, arguments, Caller.from_environment(), given).run()
    return 130


if __name__ == "__main__":
    sys.exit(main())
