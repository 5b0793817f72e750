"""What a result was made with: code, packages and hardware."""

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from equinuclei import __version__
from equinuclei.runtime.files import read_record

PACKAGES = ("numpy", "scipy", "pandas", "scikit-image", "zarr", "ngio", "dask", "tifffile", "torch", "lightning",
            "torchmetrics", "safetensors", "matplotlib")  # fmt: skip


def code_version() -> str:
    """The package's version, followed by the git commit (marked `dirty` if files differ from it) where it is known."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "Snakefile").is_file():  # installed: git would describe whatever repository surrounds it
        return __version__
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--tags"]
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


def hardware() -> dict[str, str]:
    """Operating system, processor, and the GPU if torch is loaded and finds one."""
    found = {"platform": platform.platform(), "processor": _processor()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def read_run(path: str | Path) -> dict[str, Any]:
    """The record of a training, run.json. Raises InputError if it is missing or broken."""
    return read_record(path, "the record of a training", "delete it and run again: the model is trained again")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
