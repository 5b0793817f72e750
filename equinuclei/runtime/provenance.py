"""What a result was made with: code, packages and hardware."""

import importlib.metadata
import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from equinuclei import __version__
from equinuclei.checksums import sha256
from equinuclei.runtime.files import read_record, write_json
from equinuclei.runtime.finished import read_made

logger = logging.getLogger("equinuclei")

ROOT = Path(__file__).resolve().parents[2]
"""The checkout that the library runs from; a folder of packages where it is installed."""

PACKAGES = ("numpy", "scipy", "pandas", "scikit-image", "zarr", "ngio", "dask", "tifffile", "torch", "lightning",
            "torchmetrics", "safetensors", "matplotlib")  # fmt: skip


def code_version() -> str:
    """The package's version, followed by the git commit (marked `dirty` if files differ from it) where it is known."""
    if not (ROOT / "Snakefile").is_file():  # installed: git would describe whatever repository surrounds it
        return __version__
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--tags"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__} ({commit})"


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that results depend on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def locked_packages() -> dict[str, Any]:
    """Which lock file the checkout has, and which of `PACKAGES` are installed in other versions than it says.

    `sha256` of requirements.lock, and `differ`: "2.12.0, locked 2.13.0" by package. Empty where the library is
    installed without its checkout.
    """
    lock = ROOT / "requirements.lock"
    if not (ROOT / "Snakefile").is_file() or not lock.is_file():
        return {}
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
    differ = {
        package: f"{version}, locked {locked[package]}"
        for package, version in package_versions().items()
        if package in locked and version.partition("+")[0] != locked[package]  # 2.13.0+cpu is a build of 2.13.0
    }
    return {"sha256": sha256(lock), "differ": differ}


LIMITS = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
)  # fmt: skip
"""Variables that keep torch's libraries to some of the processor's instructions, and so change the last bits."""


def hardware() -> dict[str, Any]:
    """Operating system and processor; if torch is loaded, also what it makes of them, and the GPU if it finds one.

    `platform`, `processor` (its model), `cores` (of the machine, not those that the job was given: they change no
    result), `instructions` (the widest set that torch uses, such as AVX512), `torch` (its build: version and
    libraries), `gpu`; and `limits`, those of `LIMITS` that are set.
    """
    found: dict[str, Any] = {"platform": platform.platform(), "processor": _processor(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")
    if torch is not None:
        found |= {"instructions": torch.backends.cpu.get_cpu_capability(), "torch": _torch_build(torch)}
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
    limits = {name: os.environ[name] for name in LIMITS if os.environ.get(name)}
    return found | ({"limits": limits} if limits else {})


def hardware_so_far(note: Path, *, anew: bool) -> list[dict[str, Any]]:
    """The hardware that unfinished work was done on, this job's the last, as noted in a file of its folder.

    anew : whether the work begins now, so that nothing of an earlier job is in it. Hardware that makes the same bits
    stands there once. A warning tells that the work goes on on another: no other machine will repeat those bits.
    """
    now = hardware()
    used: list[dict[str, Any]] = [] if anew else read_made(note).get("hardware", [])
    other = [one for one in used if deciding_hardware(one) != deciding_hardware(now)]
    if other:
        logger.warning(
            "%s: this work began on other hardware (%s) and goes on here (%s): the result is as good, but not, to the "
            "bit, that of either alone; its record names both",
            note.parent, deciding_hardware(other[-1]), deciding_hardware(now),
        )  # fmt: skip
    write_json(note, {"hardware": [*other, now]})
    return [*other, now]


def deciding_hardware(found: Mapping[str, Any]) -> str:
    """What of `hardware` may change the last bits of a result, in words."""
    names = ("gpu", "processor", "instructions", "torch", "limits")
    return ", ".join(str(found[name]) for name in names if found.get(name))


def read_run(path: str | Path) -> dict[str, Any]:
    """The record of a training, run.json. Raises InputError if it is missing or broken."""
    return read_record(path, "the record of a training", "delete it and run again: the model is trained again")


def _processor() -> str:
    """The processor's name and, as virtual machines shorten that, its numbers: "AMD EPYC (family 25, model 17)"."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()]
    except OSError:
        lines = []
    told = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    name = told.get("model name") or platform.processor() or platform.machine()
    numbers = ", ".join(
        f"{what} {told[key]}" for what, key in (("family", "cpu family"), ("model", "model")) if key in told
    )
    return f"{name} ({numbers})" if numbers else name


def _torch_build(torch: ModuleType) -> str:
    """Version of torch, and of the libraries in it that compute, such as "2.13.0+cpu, MKL 2024.2, oneDNN 3.12.0"."""
    told = torch.__config__.show()
    libraries = {"MKL": r"Math Kernel Library Version (\S+?)(?:-Product)?\s", "oneDNN": r"MKL-DNN v(\S+)",
                 "CUDA": r"CUDA Runtime (\S+)", "cuDNN": r"CuDNN (\S+)"}  # fmt: skip
    found = ((name, re.search(pattern, told)) for name, pattern in libraries.items())
    return ", ".join([torch.__version__, *(f"{name} {match[1]}" for name, match in found if match)])
