"""Damaged inputs read in processes of their own, with a limit of time and memory, under watch of what they open."""

import math
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

READ, REFUSED, UNAVAILABLE = "read", "refused", "unavailable"
TRACEBACK, SLOW, MEMORY, OUTSIDE = "TRACEBACK", "too slow", "too much memory", "left its folder"
OUTCOMES = (READ, REFUSED, UNAVAILABLE, TRACEBACK, SLOW, MEMORY, OUTSIDE)
ALLOWED = (READ, REFUSED)
"""The machine is sound while we try, so nothing may be unavailable."""

SECONDS = 5.0
_PATIENCE = 24  # times as many seconds, where a process does not get to compute
MEGABYTES = 1024
"""More than this beside what a process has when it starts."""

_WATCHED = (
    "open",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
)
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")


@dataclass(frozen=True)
class Result:
    """What became of an input: reader, number of the input, outcome (one of `OUTCOMES`), and why."""

    reader: str
    number: int
    outcome: str
    why: str


def run_trials(reader: str, numbers: range, seed: int, keep: Path | None = None) -> Iterator[Result]:
    """Read damaged inputs by their numbers; the same seed gives the same inputs.

    keep : folder that gets the inputs that fail.
    """
    os.environ["MALLOC_ARENA_MAX"] = "1"  # else every thread of a decoder takes 64 MB of addresses
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fuzz.readers"])
    first = numbers.start
    while first < numbers.stop:
        ours, theirs = context.Pipe()
        with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
            arguments = (reader, range(first, numbers.stop), seed, Path(scratch), keep, theirs)
            process = context.Process(target=_work, args=arguments)
            process.start()
            theirs.close()
            ours.recv()  # the seeds are written
            while first < numbers.stop:
                result = _next_result(ours, process)
                if isinstance(result, str):  # the process is no more
                    outcome = SLOW if process.exitcode == -signal.SIGKILL else TRACEBACK
                    found = Result(reader, first, outcome, result)
                    if keep is not None:
                        _keep(Path(scratch) / "input", keep, found)
                    first += 1
                    yield found
                    break
                first = result.number + 1
                yield result
            process.join()


def _next_result(pipe: Connection, process: Any) -> Result | str:
    """The next result of a process, or why there is none: it died, or computed too long and was ended."""
    begun = _cpu_seconds(process.pid)
    for _ in range(_PATIENCE):
        try:
            if pipe.poll(SECONDS):
                return pipe.recv()
        except EOFError:
            process.join()
            return f"the process died with exit status {process.exitcode}"
        if _cpu_seconds(process.pid) - begun > SECONDS:
            break
    process.kill()
    process.join()
    return f"took more than {SECONDS:g} s"


def _cpu_seconds(process: int) -> float:
    """What a process has computed: others may keep the machine busy."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.inf
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _work(reader: str, numbers: range, seed: int, scratch: Path, keep: Path | None, pipe: Connection) -> None:
    """In a process of its own: write the seeds, then read one damaged input after the other."""
    from .readers import READERS

    warnings.simplefilter("ignore")
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 (warnings of decoders, for the life of the process)
    made = READERS[reader]
    seeds = []
    for number, write in enumerate(made.seeds):
        (folder := scratch / f"seeds/{number}").mkdir(parents=True)
        write(folder)
        seeds.append(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch / "temporary")
    (scratch / "temporary").mkdir()
    watch = _Watch(scratch)
    if sys.platform == "linux":
        own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + MEGABYTES * 2**20,) * 2)
    pipe.send("ready")
    for number in numbers:
        random = Random(f"{reader} {number} {seed}")
        folder = _prepare(seeds, scratch / "input", made, random)
        result = _read(reader, number, lambda folder=folder: made.read(folder), watch)
        if result.outcome not in ALLOWED and keep is not None:
            _keep(folder, keep, result)
        pipe.send(result)


def _prepare(seeds: list[Path], folder: Path, reader: Any, random: Random) -> Path:
    """A copy of a seed with one file damaged, or renamed."""
    from .mutations import hostile_name, mutate

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(random.choice(seeds), folder)
    damaged = sorted({path for pattern in reader.damaged for path in folder.rglob(pattern) if path.is_file()})
    chosen = random.choice(damaged)
    if reader.names:
        for path in damaged:
            if path == chosen or random.random() < 0.3:
                path.rename(path.with_name(hostile_name(path.name, random)))
    else:
        chosen.write_bytes(mutate(chosen.read_bytes(), chosen.name, random))
    return folder


def _read(reader: str, number: int, call: Callable[[], object], watch: "_Watch") -> Result:
    from equinuclei.errors import InputError, StoppedError

    watch.begin()
    why = ""
    try:
        call()
        outcome = READ
    except InputError as error:
        outcome, why = REFUSED, str(error)
    except StoppedError as error:
        outcome, why = UNAVAILABLE, str(error)
        if isinstance(error.__cause__, MemoryError):
            outcome = MEMORY
    except MemoryError:
        outcome, why = MEMORY, traceback.format_exc()
    except BaseException:
        outcome, why = TRACEBACK, traceback.format_exc()
    outside = watch.end()
    if outside:
        outcome, why = OUTSIDE, outside
    shortened = "\n".join(line[:300] for line in why.splitlines())
    return Result(reader, number, outcome, shortened[-4000:])


class _Watch:
    """Notes files that are opened to be read outside the input, or written at all, and programs that are started."""

    def __init__(self, scratch: Path) -> None:
        self.found: str = ""
        self.active = False
        # What Python, its packages and the machine keep about themselves.
        own = {*sys.path, sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/usr", "/lib", "/etc/mime.types"}
        own |= {
            str(Path(__file__).parents[2]),
            str(scratch / "temporary"),
            "/etc/localtime",
            str(Path.home() / ".cache"),
        }
        self.readable = (*(str(Path(path).absolute()) for path in own if path), str(scratch / "input"))
        self.writable = (str(scratch / "temporary"), "/dev/null")
        sys.addaudithook(self._see)

    def begin(self) -> None:
        self.found, self.active = "", True

    def end(self) -> str:
        self.active = False
        return self.found

    def _see(self, event: str, arguments: tuple) -> None:
        if not self.active:
            return
        if event in _FORBIDDEN:
            self.found = f"{event} {arguments!r}"
        elif event in _WATCHED and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 (as it is, links and all)
            writes = event != "open" or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if not path.startswith(self.writable if writes else self.readable):
                self.found = f"{event} {path}"


def _keep(folder: Path, keep: Path, result: Result) -> None:
    place = keep / result.reader.replace(" ", "_") / f"{result.number}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    (place / "why.txt").write_text(f"{result.outcome}\n{result.why}\n", encoding="utf-8", errors="backslashreplace")


def count(results: Iterator[Result]) -> tuple[Counter[str], list[Result]]:
    """Number of results by outcome, and those that are not allowed."""
    counts: Counter[str] = Counter()
    failures = []
    for result in results:
        counts[result.outcome] += 1
        if result.outcome not in ALLOWED:
            failures.append(result)
    return counts, failures
