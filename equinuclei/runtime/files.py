"""Outputs that appear only when they are whole, and the records that jobs leave."""

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

    The temporary name keeps the suffix of `path`, because several writers choose their format by it, and is no other
    job's, on this or another host. What stood at `path` stays untouched until the new file is whole.
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
    """Make the folder `target` by `build(folder)`; it appears under its name when it is whole.

    `build` works in a hidden sibling of `target` that outlives an interruption; see `with_scratch_folder` for `key`. It
    marks finished units itself (`mark_done`, `is_done`). It is not called where another job with the same key has
    finished the work meanwhile.
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
    """Call `work(folder)` with a folder for unfinished work, which is removed when it returns.

    The folder lies in a hidden sibling of `target` named after `key`, a digest of the code, the configuration and the
    inputs that the result depends on. It outlives an interruption: a later call with the same key gets the same
    content; folders of other keys are stale and removed. One job at a time owns it (`equinuclei.runtime.ownership`):
    another one with the same key waits. If the first has finished the work, which the existence of `result` (default:
    `target`) tells, `work` is not called.
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


@contextmanager
def scratch_folder(target: str | Path, key: str, result: str | Path | None = None) -> Iterator[Path | None]:
    """Yield a folder for unfinished work that outlives an interruption, and is removed when the block ends well.

    It lies in a hidden sibling of `target` named after `key`, a digest of the code, the configuration and the inputs
    that the result depends on. A later call with the same key gets the same content; folders of other keys are stale
    and removed. One job at a time owns it (`equinuclei.runtime.ownership`): another one with the same key waits, and
    gets None if the first has finished the work, which the existence of `result` (default: `target`) tells.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    base = target.parent / f".{target.name}.work-{key[:16]}"
    for stale in target.parent.glob(f".{target.name}.work-*"):
        if not stale.name.startswith(base.name):
            shutil.rmtree(stale, ignore_errors=True)
    with owned(base, Path(result or target).exists) as folder:
        yield folder
        if folder is not None:
            shutil.rmtree(base, ignore_errors=True)


@contextmanager
def work_folder(target: str | Path, key: str) -> Iterator[Path | None]:
    """Yield a `scratch_folder` that becomes the folder `target` when the block ends well.

    The caller marks finished units itself (`mark_done`, `is_done`). If `target` exists by then, another job finished
    first and this result is discarded.
    """
    target = Path(target)
    with scratch_folder(target, key) as folder:
        yield folder
        if folder is None:
            return
        require_ownership(folder)
        for marker in folder.glob(".done-*"):
            marker.unlink()
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        if not target.exists():
            folder.rename(target)


def mark_done(folder: Path, unit: str) -> None:
    """Record that `unit` (a short name made by the program) is finished in a work folder.

    Raises StoppedError if the folder is no longer this job's.
    """
    require_ownership(folder)
    (folder / f".done-{unit}").touch()
    stop_for_a_test(unit)


def is_done(folder: Path, unit: str) -> bool:
    """Whether `unit` was finished in a work folder by this or an earlier, interrupted job."""
    return (folder / f".done-{unit}").exists()


def require_space(folder: str | Path, needed: int, what: str) -> None:
    """Raise StoppedError unless the disk of `folder`, or of its nearest parent that exists, has `needed` bytes free.

    what : what is to be written, for the message. Quotas are not seen.
    """
    folder = Path(folder).absolute()
    disk = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(disk).free
    if free < needed:
        raise StoppedError(
            f"{disk}: {what} takes about {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free: free some space, "
            "or set `results` to a larger disk, and run again"
        )


def write_json(path: str | Path, value: Mapping) -> None:
    """Write a mapping of plain values as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(path: str | Path, what: str, remedy: str) -> dict[str, Any]:
    """The JSON object of a file that a job has written.

    what : what the file is, such as "the record of a training"; remedy : what makes a broken one good again. Raises
    InputError with both if the file is missing or broken.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {what} cannot be read ({error}): {remedy}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: {what} is not a JSON object: {remedy}")
    return value
