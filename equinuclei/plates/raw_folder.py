"""The raw folder of a plate, as the file system shows it now: nothing that it fails to show is taken for absent.

Imports nothing that Snakemake does not bring.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from equinuclei.checksums import digest
from equinuclei.errors import StoppedError, UnavailableError


@dataclass(frozen=True)
class RawFolder:
    """The files below a folder; those in folders that are links are not looked at.

    files, bytes : their number and total size
    newest : the latest modification time, ns; 0 if there is no file
    content : digest of their names, sizes and times
    changed : the latest time at which one was written, moved or replaced, ns: also by a copy that keeps its times
    """

    files: int
    bytes: int
    newest: int
    content: str
    changed: int

    @classmethod
    def of(cls, folder: Path) -> "RawFolder":
        """Of a folder as it is now. Raises UnavailableError if a part of it cannot be looked at."""
        files = sorted(_walk(folder))
        size, content = sum(entry[1] for entry in files), digest([list(entry[:3]) for entry in files])
        newest = max((entry[2] for entry in files), default=0)
        changed = max((entry[3] for entry in files), default=0)
        return cls(len(files), size, newest, content, changed)


def require_as_scanned(folder: str | Path, content: str) -> RawFolder:
    """Look at a plate's folder, which must hold what the scan found: or what was read of it since proves nothing.

    content : of `RawFolder`, by the scan

    Raises
    ------
    UnavailableError
        If the folder or a part of it cannot be looked at.
    StoppedError
        If files came, went or changed.
    """
    now = RawFolder.of(Path(folder))
    if now.content != content:
        raise StoppedError(
            f"{folder}: its files are not those that the scan found: some came, went or changed. What is converted is "
            "kept; the next tick looks at the plate again"
        )
    return now


def is_absent(image: Path) -> bool:
    """Whether an image that a plate lists is not there, or empty.

    Raises
    ------
    UnavailableError
        If that cannot be told: permission is denied, the file server does not answer, or a link leads to nothing.
    """
    try:
        status = image.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        for path in (image, *image.parents):
            if path.is_symlink() and not path.exists():
                raise UnavailableError(
                    f"{path}: is a link to {path.readlink()}, which is not there now: mount or copy what it leads to, "
                    "or remove the link if that is gone for good"
                ) from error
        return True
    except OSError as error:
        unavailable(error)
    return not stat.S_ISDIR(status.st_mode) and status.st_size == 0


def _walk(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """Relative path, bytes, times of modification and change (ns) of all files below a folder, not in linked ones."""
    for path, _, names in os.walk(folder, onerror=unavailable):
        for name in names:
            file = Path(path, name)
            try:
                status = file.stat()
            except FileNotFoundError:  # renamed while we look: the next scan sees it; or a link to nothing
                continue
            except OSError as error:
                unavailable(error)
            yield file.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns, status.st_ctime_ns


def unavailable(error: OSError) -> NoReturn:
    """Raise an UnavailableError: a folder that is not looked into is neither empty nor accounted for."""
    raise UnavailableError(f"{error.filename}: cannot be looked at now ({error.strerror})") from error
