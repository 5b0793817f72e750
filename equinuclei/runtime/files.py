"""Writing outputs that appear only when they are complete, and the JSON records of jobs."""

import errno
import glob
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from equinuclei.checksums import RECORD, sha256
from equinuclei.errors import InputError, StoppedError, UnavailableError, reading
from equinuclei.runtime.disk import sync_file, sync_file_system, sync_folder
from equinuclei.runtime.finished import is_made, made_from, move_aside
from equinuclei.runtime.job import stop_for_a_test
from equinuclei.runtime.ownership import owned, remove_at_once, require_ownership

logger = logging.getLogger("equinuclei")


@contextmanager
def replacing(path: str | Path, *, keep: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends without an error.

    A previous file at `path` stays untouched until the new one is complete and on the disk; with `keep` it then gets
    that name. The temporary name keeps the suffix, by which several writers choose their format, and is unique among
    jobs and hosts.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.new-{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        sync_file(temporary)
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(
    target: str | Path,
    key: str,
    build: Callable[[Path], None],
    *,
    beside: Sequence[str | Path] = (),
    inputs: str = "",
    anew: bool = False,
    immutable: bool = False,
) -> None:
    """Make the folder `target` with `build(folder)`; it appears under its name only when it is complete.

    `build` works in a hidden sibling of `target` that outlives an interruption, and marks the units it has finished
    (`mark_done`, `is_done`). For `key` see `with_scratch_folder`. A result of this key that is there already, of this
    or another job, is kept, and `build` is not called. What else stands in its place is moved aside when the result is
    whole, and a warning tells under which name.

    Parameters
    ----------
    beside
        Files that belong to the result and stand elsewhere, with different names. `build` writes each to
        `beside_file(folder, path)`. They move into place before `target` appears and after an older one went, so that
        where `target` stands, all are there and belong to it; an interruption between is mended by the next job.
    inputs
        Recorded too: what results that are joined later must share, where their keys tell them apart.
    anew
        Build even if a result of this key is there, unless it was just made by a job that this one waited for; what it
        replaces is removed if `make_folder` made it.
    immutable
        Raise FileExistsError if something else stands in the result's place. The record is read-only.
    """
    target, others, taken = Path(target), [Path(path) for path in beside], list[Path]()

    def finished(waited: bool = True) -> bool:
        return (waited or not anew) and is_made(target / RECORD, key, others)

    def build_and_rename(folder: Path) -> None:
        build(folder)
        require_ownership(folder)
        files = {path.name: sha256(beside_file(folder, path)) for path in others}
        write_json(folder / RECORD, {"key": key, "files": files, "inputs": inputs})
        if immutable:
            (folder / RECORD).chmod(0o444)
        _settle(folder)
        if immutable and _in_the_way(folder, target) and not finished():
            taken.append(target)
            return
        if anew and made_from(target):
            remove_at_once(target, f".{target.name}.work-trash")
        _remove_traces(folder)
        _put_in_place(folder, [*((beside_file(folder, path), path) for path in others), (folder, target)], finished)

    with_scratch_folder(target, key, build_and_rename, is_finished=finished)
    if taken:
        raise FileExistsError(errno.EEXIST, "another result has this name", str(target))


def _remove_traces(folder: Path) -> None:
    """Remove the marks of finished units, and what killed jobs left of single files, from a folder that is whole.

    The youngest go first, as later units stand on earlier ones: an interruption leaves marks that are true.
    """
    traces = {path for pattern in (".done-*", ".*.new-*", "*.partial") for path in folder.glob(pattern)}
    for path in sorted(traces, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        path.unlink()


def beside_file(folder: Path, path: str | Path) -> Path:
    """Where `build` of `make_folder` writes a file that is to stand at `path`, outside the folder."""
    return folder / f".beside-{Path(path).name}"


def put_in_place(folder: Path, files: Sequence[Path], is_finished: Callable[[], bool]) -> None:
    """Move files that were written to a work folder, under their final names, to `files`, in this order.

    What stands there and is not the same is moved aside first. Nothing is done if `is_finished`, in the end. Raises
    StoppedError if this job no longer owns the folder.
    """
    _settle(folder)
    _put_in_place(folder, [(folder / path.name, path) for path in files], is_finished)


def _put_in_place(folder: Path, moves: Sequence[tuple[Path, Path]], is_finished: Callable[[], bool]) -> None:
    """Rename results to their final names; the last stands for all of them, so it goes first and comes last.

    All of them lie in the work folder: once another job has taken that over, none can be renamed any more.
    """
    left = list(moves)
    for _ in range(5):  # somebody may put something there again
        if is_finished():
            return
        move_aside([final for inside, final in reversed(left) if _in_the_way(inside, final)])
        try:
            while left:
                _move(*left[0])
                left.pop(0)
        except FileNotFoundError as error:
            raise StoppedError(f"{folder.parent}: another job took over this work; this one stops") from error
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            continue
        for parent in {final.parent for _, final in moves}:
            sync_folder(parent)
        return
    raise StoppedError(
        f"{moves[-1][1]}: something else appears there again and again: see what makes it, and run again"
    )


def _in_the_way(inside: Path, final: Path) -> bool:
    """Whether something stands under a final name that is not what would come there."""
    if final.is_symlink() and not final.exists():
        return True
    if inside.is_dir() or final.is_dir():
        return final.exists() and not (final.is_dir() and not any(final.iterdir()))
    return final.exists() and sha256(final) != sha256(inside)


def _move(inside: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        inside.replace(final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(final) as temporary:  # a file on another file system
            shutil.copyfile(inside, temporary)


def with_scratch_folder(
    target: str | Path, key: str, work: Callable[[Path], None], *, is_finished: Callable[[bool], bool]
) -> None:
    """Call `work(folder)` with a folder for unfinished work, which is removed when `work` returns.

    The folder lies in a hidden sibling of `target` named after `key`, a digest of the code, the configuration and the
    inputs that the result depends on. It outlives an interruption: a later call with the same key finds its content
    again, and removes the stale folders of other keys. One job at a time owns the folder
    (`equinuclei.runtime.ownership`); another one with the same key waits for it. Where `is_finished(waited)` says that
    the result of this key is there and whole, `work` is not called; `waited` tells whether this job has waited.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    base = target.parent / f".{target.name}.work-{key[:16]}"
    hidden = f".{target.name}.work-"
    for stale in target.parent.glob(f"{glob.escape(hidden)}*"):
        if not stale.name.startswith(base.name) or ".trash-" in stale.name:
            remove_at_once(stale, f"{hidden}trash")
    with owned(base, is_finished) as folder:
        if folder is not None:
            work(folder)
            for path in (base, *target.parent.glob(f"{glob.escape(base.name)}.new-*")):
                remove_at_once(path, f"{hidden}trash")


def mark_done(folder: Path, unit: str, record: Mapping[str, Any] | None = None) -> None:
    """Record that `unit` (a short name made by the program) of a work folder is finished, with plain values about it.

    What was written before is on the disk first: a mark that survives a power cut while its pixels do not would lose
    them silently. Raises StoppedError if this job no longer owns the folder.
    """
    _settle(folder)
    write_json(_marker(folder, unit), {"unit": unit, "record": dict(record or {})})
    stop_for_a_test(unit)


def _settle(folder: Path) -> None:
    """Bring all that was written to a work folder to the disk; raise StoppedError if it is no longer this job's."""
    require_ownership(folder)
    with suppress(FileNotFoundError):  # another job has just taken it over
        sync_file_system(folder)
    require_ownership(folder)


def is_done(folder: Path, unit: str) -> bool:
    """Whether this job or an earlier, interrupted one has finished `unit` of a work folder."""
    return done_record(folder, unit) is not None


def done_record(folder: Path, unit: str) -> dict[str, Any] | None:
    """The plain values that `mark_done` recorded of a unit; None if it is not finished. A broken mark is removed."""
    marker = _marker(folder, unit)
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if isinstance(found, dict) and found.get("unit") == unit and isinstance(found.get("record"), dict):
        return found["record"]
    logger.warning("%s: this mark of finished work is broken: %s is made again", marker, unit)
    marker.unlink(missing_ok=True)
    return None


def _marker(folder: Path, unit: str) -> Path:
    return folder / f".done-{unit}"


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
    in the message, if the file is broken, and UnavailableError if it is missing or cannot be read: it was there once.
    """
    with reading(path, f"{what} is broken: {remedy}"):
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UnavailableError(
                f"{path}: {what} is not there: if the folder is the right one and the file does not come back, {remedy}"
            ) from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: {what} is not a JSON object: {remedy}")
    return value
