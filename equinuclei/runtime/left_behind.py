"""What a controller that was killed leaves behind: its jobs in SLURM's queue, and its record."""

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from equinuclei.errors import StoppedError
from equinuclei.runtime.controller import Controller, find_controllers, snakemakes_here, tell, user_name

NAMES = re.compile("equinuclei_[0-9a-f-]+")
"""Names of jobs: the prefix of profiles/slurm, and their run."""

ENDING = 300.0
"""Seconds in which jobs that were cancelled should be gone."""


@dataclass(frozen=True)
class Job:
    """A job in SLURM's queue."""

    number: str
    name: str
    user: str
    folder: str


def clear(folder: Path) -> None:
    """Cancel the jobs that dead controllers of a folder left in SLURM's queue, and remove their records.

    Jobs of other users are told. Raises StoppedError if a controller of the folder lives, here or elsewhere, whoever's.
    """
    living, dead = find_controllers(folder)
    without_record = set(snakemakes_here(folder)) - {controller.about.get("process") for controller in living}
    alive = [f"{controller}," for controller in living] or [
        f"snakemake (process {number})" for number in without_record
    ]
    if alive:
        raise StoppedError("\n".join(f"{who} is working in {folder}: nothing is done" for who in alive))
    for controller in dead:
        tell(f"{controller}, ended without a word")
    if not dead and not is_locked(folder):
        return
    try:
        _cancel(folder, dead)
    except OSError as error:
        tell(f"squeue does not answer ({error}): jobs that are left behind, if any, go on")
        return  # the records tell their names the next time
    for controller in dead:
        try:
            controller.clear()
        except OSError as error:
            tell(f"{controller.record}: cannot be removed ({error}): {controller.user} can")


def is_locked(folder: Path) -> bool:
    """Whether Snakemake's lock is in a folder."""
    with suppress(OSError):
        return any(path.is_file() for path in Path(folder, ".snakemake/locks").iterdir())
    return False


def _cancel(folder: Path, dead: Sequence[Controller]) -> None:
    """Cancel the jobs of dead controllers and wait until they are gone. Raises OSError if SLURM does not answer."""
    runs = {name for controller in dead for name in controller.jobs().values()}
    own, others = _jobs_of(folder, runs)
    if others:
        told = ", ".join(f"{job.number} of {job.user}" for job in others)
        tell(f"jobs of other users go on, which these alone can cancel: {told}. New jobs wait for them")
    if not own:
        return
    tell(f"cancelling jobs that a killed snakemake left behind: {' '.join(job.number for job in own)}")
    _ask("scancel", *(job.number for job in own))
    end = time.monotonic() + ENDING
    while left := _jobs_of(folder, runs)[0]:
        if time.monotonic() > end:
            tell(f"still ending, though cancelled: {' '.join(job.number for job in left)}. New jobs wait for them")
            return
        time.sleep(1)


def _jobs_of(folder: Path, runs: set[str]) -> tuple[list[Job], list[Job]]:
    """The jobs of these runs, of this user and of others; of this user also those of any run from this folder."""
    if shutil.which("squeue") is None:
        return [], []
    user = user_name()
    jobs = _queue(f"--user={user}")
    own = [job for job in jobs if job.name in runs or (NAMES.fullmatch(job.name) and _is(job.folder, folder))]
    others = [job for job in _queue(f"--name={','.join(sorted(runs))}") if job.user != user] if runs else []
    return own, others


def _is(seen: str, folder: Path) -> bool:
    """Whether a path leads to a folder, by whatever links and mounts."""
    with suppress(OSError):
        return Path(seen).samefile(folder)
    return False


def _queue(selection: str) -> list[Job]:
    rows = _ask("squeue", "--noheader", selection, "--format=%i|%j|%u|%Z").splitlines()
    return [Job(*fields) for row in rows if len(fields := row.strip().split("|", 3)) == 4]


def _ask(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise OSError(run.stderr.strip() or f"exit status {run.returncode}")
    return run.stdout
