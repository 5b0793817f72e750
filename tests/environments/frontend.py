"""A stand-in for the command `conda`: what Snakemake and snakedeploy call, with conda-forge's solver and installer.

All packages come from one channel, $CONDA_CHANNEL, whatever an environment file says.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import yaml
from rattler import MatchSpec, VirtualPackage, install, solve
from rattler.exceptions import SolverError

CHANNEL = os.environ["CONDA_CHANNEL"]
ROOT = Path(os.environ["CONDA_ROOT"])


def create(prefix: Path, specs: list[str]) -> None:
    """Solve and link an environment."""

    async def work() -> None:
        records = await solve(
            [CHANNEL],
            [MatchSpec(spec) for spec in specs],
            platforms=["linux-64", "noarch"],
            virtual_packages=VirtualPackage.detect(),
        )
        await install(records, target_prefix=prefix, cache_dir=ROOT / "pkgs", show_progress=False)

    asyncio.run(work())
    (prefix / "conda-meta/history").touch()


def specs_of_yaml(file: Path) -> list[str]:
    return yaml.safe_load(file.read_text())["dependencies"]


def specs_of_pins(file: Path) -> list[str]:
    """Specifications that only the pinned packages meet, from their addresses."""
    lines = [line.partition("#")[0] for line in file.read_text().splitlines() if not line.startswith(("#", "@"))]
    packages = [line.rpartition("/")[2].removesuffix(".conda").rsplit("-", 2) for line in lines if line]
    return [f"{name}=={version}={build}" for name, version, build in packages]


def list_explicit(prefix: Path) -> str:
    records = [json.loads(path.read_text()) for path in sorted((prefix / "conda-meta").glob("*.json"))]
    return "\n".join(["# platform: linux-64", "@EXPLICIT", *(f"{r['url']}#{r['md5']}" for r in records)])


def main() -> str | None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", nargs="+")  # the other options, such as --quiet, change nothing here
    parser.add_argument("--file", type=Path)
    parser.add_argument("--prefix", type=Path)
    parser.add_argument("--get")
    if sys.argv[1:] == ["--version"]:
        return "conda 26.1.0"
    arguments, _ = parser.parse_known_args()
    match arguments.command:
        case ["info"]:
            return json.dumps({"conda_prefix": str(ROOT), "platform": "linux-64"})
        case ["config"]:
            return json.dumps({"get": {"channel_priority": "strict"}})
        case ["env", "create"]:
            create(arguments.prefix, specs_of_yaml(arguments.file))
        case ["create"]:
            create(arguments.prefix, specs_of_pins(arguments.file))
        case ["clean"]:
            pass  # packages are hard links: nothing to gain
        case ["env", "remove"]:
            shutil.rmtree(arguments.prefix)
        case ["list"]:
            return list_explicit(arguments.prefix)
        case other:
            sys.exit(f"not a command of this stand-in: {other}")


if __name__ == "__main__":
    try:
        answer = main()
    except SolverError as error:
        sys.exit(f"{error}")
    if answer:
        print(answer, flush=True)
    os._exit(0)  # py-rattler's threads may abort the interpreter's own way out
