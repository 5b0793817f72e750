"""Writing outputs that appear only when they are complete, and the JSON records of jobs."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equinuclei.errors import InputError, StoppedError
from equinuclei.runtime.job import stop_for_a_test
from equinuclei.runtime.ownership import owned, require_ownership


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends without an error.

    A previous file at `path` stays untouched until the new one is complete. The temporary name keeps the suffix, by
    which several writers choose their format, and is unique among jobs and hosts.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.new-{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(target: str | Path, key: str, build: Callable[[Path], None]) -> None:
    """Make the folder `target` with `build(folder)`; it appears under its name only when it is complete.

    `build` works in a hidden sibling of `target` that outlives an interruption, and marks the units it has finished
    (`mark_done`, `is_done`). For `key` see `with_scratch_folder`. If another job with the same key has finished the
    work in the meantime, `build` is not called; if `target` has appeared by the end, it is kept and this result is
    discarded.
    """
    target = Path(target)

    def build_and_rename(folder: Path) -> None:
        build(folder)
        require_ownership(folder)
        for marker in folder.glob(".done-*"):
            marker.unlink()
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        if not target.exists():
            folder.rename(target)

    with_scratch_folder(target, key, build_and_rename)


def with_scratch_folder(
    target: str | Path, key: str, work: Callable[[Path], None], *, result: str | Path | None = None
) -> None:
    """Call `work(folder)` with a folder for unfinished work, which is removed when `work` returns.

    The folder lies in a hidden sibling of `target` named after `key`, a digest of the code, the configuration and the
    inputs that the result depends on. It outlives an interruption: a later call with the same key finds its content
    again, and removes the stale folders of other keys. One job at a time owns the folder
    (`equinuclei.runtime.ownership`); another one with the same key waits for it. If `result` (default: `target`) exists
    afterwards, the first job has finished the work and `work` is not called.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    base = target.parent / f".{target.name}.work-{key[:16]}"
    for stale in target.parent.glob(f".{target.name}.work-*"):
        if not stale.name.startswith(base.name):
            shutil.rmtree(stale, ignore_errors=True)
    with owned(base, Path(result or target).exists) as folder:
        if folder is not None:
            work(folder)
            shutil.rmtree(base, ignore_errors=True)


def mark_done(folder: Path, unit: str) -> None:
    """Record that `unit` (a short name made by the program) of a work folder is finished.

    Raises StoppedError if this job no longer owns the folder.
    """
    require_ownership(folder)
    (folder / f".done-{unit}").touch()
    stop_for_a_test(unit)


def is_done(folder: Path, unit: str) -> bool:
    """Whether this job or an earlier, interrupted one has finished `unit` of a work folder."""
    return (folder / f".done-{unit}").exists()


def require_space(folder: str | Path, needed: int, what: str) -> None:
    """Raise StoppedError unless the disk of `folder`, or of its nearest existing parent, has `needed` bytes free.

    what : what is about to be written, for the message. Quotas are not taken into account.
    """
    folder = Path(folder).absolute()
    disk = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(disk).free
    if free < needed:
        raise StoppedError(
            f"{disk}: {what} needs about {needed / 1e6:,.1f} MB, but only {free / 1e6:,.1f} MB are free: free some "
            "space, or set `results` to a folder on a larger disk, and run again"
        )


def write_json(path: str | Path, value: Mapping) -> None:
    """Write a mapping of JSON values as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(path: str | Path, what: str, remedy: str) -> dict[str, Any]:
    """The JSON object in a file that a job has written.

    what : what the file is, such as "the record of a training"; remedy : how to repair it. Raises InputError, with both
    in the message, if the file is missing or broken.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {what} cannot be read ({error}): {remedy}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: {what} is not a JSON object: {remedy}")
    return value
