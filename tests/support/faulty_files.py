"""A file system that fails: chosen paths raise a chosen error number, for the first so many times or until the end."""

import builtins
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from unittest import mock

OPENING = ((builtins, "open"), (io, "open"), (os, "open"))
LOOKING = ((os, "stat"), (os, "lstat"))
LISTING = ((os, "scandir"), (os, "listdir"))


@dataclass
class Fault:
    """An error that calls with chosen paths raise.

    concerns : whether a path is one of them
    number : of `errno`
    times : how often; None: always
    passes : how many calls with such paths succeed before
    count : how often it was raised
    """

    concerns: Callable[[Path], bool]
    number: int
    times: int | None = None
    passes: int = 0
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, path: object) -> None:
        """Raise the error, if a call with this path is to fail."""
        if not isinstance(path, str | bytes | os.PathLike) or not self.concerns(Path(os.fsdecode(path))):
            return
        with self.lock:
            if self.passes:
                self.passes -= 1
                return
            if self.times is not None and self.count >= self.times:
                return
            self.count += 1
        raise OSError(self.number, os.strerror(self.number), os.fsdecode(path))


@contextmanager
def failing(
    *paths: Path,
    number: int,
    times: int | None = None,
    passes: int = 0,
    calls: tuple[tuple[object, str], ...] = (*OPENING, *LOOKING, *LISTING),
) -> Iterator[Fault]:
    """Calls with these paths, or with what lies below them, raise an OSError of this number (see `Fault`)."""
    fault = Fault(lambda path: any(path == one or one in path.parents for one in paths), number, times, passes)

    def faulty(function: Callable) -> Callable:
        @wraps(function)
        def call(path: object = ".", *arguments: object, **more: object) -> object:
            fault.check(path)
            return function(path, *arguments, **more)

        return call

    patches = [mock.patch.object(module, name, faulty(getattr(module, name))) for module, name in calls]
    for patch in patches:
        patch.start()
    try:
        yield fault
    finally:
        for patch in reversed(patches):
            patch.stop()
