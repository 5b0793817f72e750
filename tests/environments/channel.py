"""A conda channel on disk, packed from the distributions that are installed in a Python environment.

    python channel.py SITE_PACKAGES CHANNEL

Real conda packages with the dependencies that each distribution declares, so that conda's solver and installer have
their usual work without a network. Two things differ from conda-forge: `python` is a virtual environment on the running
interpreter, and libraries that wheels bring inside them are no packages of their own.
"""

import asyncio
import io
import json
import os
import platform
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from importlib.util import cache_from_source
from pathlib import Path

import zstandard
from declarations import CONDA_NAMES, DISTRIBUTIONS, ENVIRONMENTS, declared
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from rattler.index import index_fs

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NEXT = f"{sys.version_info.major}.{sys.version_info.minor + 1}"
SITE_PACKAGES = f"lib/python{PYTHON}/site-packages"
LEFT_OUT = {"..", "tests", "include"}  # programs; tests and headers are two fifths of all files, and not imported
HOOK = Path(__file__).with_name("record_imports.py")
Contents = dict[str, Path | str]  # path in the package -> a file, or a text


def make_channel(site_packages: Path, channel: Path, names: Iterable[str]) -> None:
    """Pack Python, the distributions `names` and all that they need from `site_packages` into `channel`."""
    installed = {canonicalize_name(found.name): found for found in distributions(path=[str(site_packages)])}
    (channel / "noarch").mkdir(parents=True)
    write_package(channel, "python", platform.python_version(), [], python_contents())
    for name in sorted(closure(installed, names)):
        distribution = installed[name]
        files = {Path(file): Path(file.locate()) for file in distribution.files if not LEFT_OUT & {*file.parts}}
        # pip lists the compiled modules that it has made, and not those that were made when they were imported.
        sources = [(file, source) for file, source in files.items() if file.suffix == ".py"]
        files |= {Path(cache_from_source(file)): Path(cache_from_source(source)) for file, source in sources}
        depends = [f"python >={PYTHON},<{NEXT}", *map(conda_spec, requirements(installed, name))]
        version = Version(distribution.version).public
        contents = {f"{SITE_PACKAGES}/{file}": source for file, source in files.items()}
        write_package(channel, CONDA_NAMES.get(name, name), version, depends, contents)
    asyncio.run(index_fs(channel, write_zst=False, write_shards=False))


def closure(installed: dict[str, Distribution], names: Iterable[str]) -> set[str]:
    """The distributions `names` and all that they depend on."""
    found, queue = set(), [canonicalize_name(name) for name in names]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += [canonicalize_name(requirement.name) for requirement in requirements(installed, name)]
    return found


def requirements(installed: dict[str, Distribution], name: str, extras: Iterable[str] = ("",)) -> Iterator[Requirement]:
    """What a distribution requires here. What another one's extra requires, `dask[array]`, is required itself."""
    for line in installed[name].requires or []:
        requirement = Requirement(line)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        other = canonicalize_name(requirement.name)
        if other == name:  # an extra that names other extras of the same distribution
            yield from requirements(installed, name, requirement.extras)
            continue
        yield requirement
        if requirement.extras:
            yield from requirements(installed, other, requirement.extras)


def conda_spec(requirement: Requirement) -> str:
    """A requirement as conda writes it."""
    name = canonicalize_name(requirement.name)
    return f"{CONDA_NAMES.get(name, name)} {requirement.specifier}".strip()


def python_contents() -> Contents:
    """A virtual environment on the running interpreter, whose programs record what they import."""
    base = Path(sys._base_executable).resolve()
    return {
        f"bin/python{PYTHON}": base,
        "bin/python3": base,
        "bin/python": base,
        "pyvenv.cfg": f"home = {base.parent}\ninclude-system-site-packages = false\n",
        f"{SITE_PACKAGES}/sitecustomize.py": HOOK,
    }


def write_package(channel: Path, name: str, version: str, depends: list[str], contents: Contents) -> None:
    """Write a package of conda's format 2; the compiled modules among its files stay valid, as times are kept."""
    build = "0"
    index = {"name": name, "version": version, "build": build, "build_number": 0, "depends": depends,
             "arch": "x86_64", "platform": "linux", "subdir": "linux-64"}  # fmt: skip
    contents = {path: source for path, source in contents.items() if isinstance(source, str) or source.is_file()}
    paths = [{"_path": path, "path_type": "hardlink"} for path in contents]
    info = {
        "info/index.json": json.dumps(index),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
        "info/about.json": "{}",
    }
    stem = f"{name}-{version}-{build}"
    (channel / "linux-64").mkdir(exist_ok=True)
    with zipfile.ZipFile(channel / "linux-64" / f"{stem}.conda", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"conda_pkg_format_version": 2}))
        for part, members in (("pkg", contents), ("info", info)):
            with (
                archive.open(f"{part}-{stem}.tar.zst", "w", force_zip64=True) as file,
                zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False) as compressed,
                tarfile.open(fileobj=compressed, mode="w|", format=tarfile.GNU_FORMAT) as tar,
            ):
                for path, source in members.items():
                    if isinstance(source, Path):
                        tar.add(source, path)
                    else:
                        member = tarfile.TarInfo(path)
                        member.size = len(source.encode())
                        tar.addfile(member, io.BytesIO(source.encode()))


if __name__ == "__main__":
    site_packages, channel = map(Path, sys.argv[1:])
    packages = {package for environment in ENVIRONMENTS for package in declared(environment)} - {"python"}
    make_channel(site_packages, channel, ["snakemake", *(DISTRIBUTIONS.get(name, name) for name in packages)])
    os._exit(0)  # py-rattler's threads may abort the interpreter's own way out
