"""Record that a refactoring changed statements but no byte of a result, so that no result is made again.

Runs the study of config/acknowledge.yaml with the code of a base and with that of the working tree, and compares every
file. Only if none differs, the digest of each rule's code is recorded to mean the same as that of the base, in
workflow/equivalent_code.tsv: commit that file with the refactoring. The base is, unless --base names it: HEAD if
tracked files differ from it; else where the branch left `main`; else, on `main` itself, the commit before HEAD.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from exports import onnx_without_places, zip_without_places
from verify_reproducibility import (
    MAY_DIFFER,
    ROOT,
    TIMES,
    Allowance,
    compare,
    run_study,
    without_measured,
    without_times,
)

sys.path.insert(0, str(ROOT))

from equinuclei.errors import InputError
from equinuclei.runtime.equivalent_code import TABLE, add_rows, read_equivalents

TARGETS = ("study", "export", "train_shipped")
CODE = frozenset({"code", "code_sha256", "code_version", "key"})
"""Keys of records that tell which code it was; `key`, that of unfinished work, is a digest of it and the settings."""

Digests = Mapping[tuple[str, str], str]


def without_code(path: Path) -> str:
    """The content of a record without times, the code, and checksums of files: those are compared themselves."""
    return without_times(path, TIMES | CODE | {"files", "stores"})


def page_without_code(path: Path) -> str:
    """The text of a study's page without what was measured, and without the versions of the code."""
    return re.sub(r"\d+\.\d+\.\d+ \([0-9a-z.-]+\)", "", without_measured(path))


PLACES = "names, files and lines of the code; all else is equal"
BETWEEN_CODES: list[Allowance] = [
    ("snakemake.log", "what snakemake said", None),
    ("*/run.json", "times, and which code it was; all else is equal", without_code),
    ("*/learning_rate.json", "times, and which code it was; all else is equal", without_code),
    ("*/source.json", "which code it was; all else is equal", without_code),
    ("*/tables/provenance.json", "times, which code it was, and checksums of these; all else is equal", without_code),
    ("*.zarr/zarr.json", "which code it was; all else is equal", without_code),
    ("*/model.onnx", PLACES, onnx_without_places),
    ("*/model.pt2", PLACES, zip_without_places),
    ("*/bioimage_model.zip", PLACES, zip_without_places),
    ("*/report.html", "times, which code it was, and checksums of these; all else is equal", page_without_code),
    *MAY_DIFFER,
]


def git(*arguments: str, folder: Path | None = None) -> str:
    """What git says of the project or another checkout, without the end of its last line."""
    command = ["git", "-C", str(folder or ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def choose_base() -> str:
    """The commit that a refactoring begins at: see the module's docstring."""
    if git("status", "--porcelain", "--untracked-files=no"):
        return "HEAD"
    try:
        fork = git("merge-base", "HEAD", "main")
    except subprocess.CalledProcessError:  # a clone without `main`
        return "HEAD~"
    return "HEAD~" if fork == git("rev-parse", "HEAD") else fork


def environment_of(project: Path) -> dict[str, str]:
    """The environment in which a checkout's own library is imported, whatever is installed, and wherever it lies."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(project), str(project / "scripts")])}


def digests_of(project: Path, configfile: Path, folder: Path) -> tuple[dict[tuple[str, str], str], set[str]]:
    """The digests that the jobs of the study record, (rule, architecture or "") -> digest, and all rules that have one.

    They are those that the project's own Snakefile computes. Raises InputError if it cannot be parsed.
    """
    command = [sys.executable, ROOT / "scripts/code_parameters.py", project / "Snakefile", configfile, folder, *TARGETS]
    run = subprocess.run(command, capture_output=True, text=True, env=environment_of(project))
    if run.returncode:
        raise InputError(f"{project}: its Snakefile cannot be used with {configfile.name}:\n{run.stderr[-3000:]}")
    told = json.loads(run.stdout)
    # Models are named after their architecture, which holds no "_".
    return {(rule, model.split("_")[0]): code for rule, model, code in told["jobs"]}, set(told["rules"])


def new_rows(before: Digests, after: Digests, evidence: str) -> list[dict[str, str]]:
    """A row per rule and digest that changed, for all architectures that share it; none is named where all do."""
    digests: dict[str, set[str]] = {}
    for (rule, _), digest in after.items():
        digests.setdefault(rule, set()).add(digest)
    rows: dict[tuple[str, str, str], list[str]] = {}
    for (rule, architecture), digest in sorted(after.items()):
        same_as = before.get((rule, architecture), digest)
        if same_as != digest:
            named = [architecture] if len(digests[rule]) > 1 else []
            rows.setdefault((rule, digest, same_as), []).extend(named)
    return [
        {"rule": rule, "architecture": ",".join(names), "digest": digest, "same_as": same_as, "evidence": evidence}
        for (rule, digest, same_as), names in rows.items()
    ]


def run_both(runs: Mapping[Path, Path], configfile: Path, cores: int) -> bool:
    """Run the study with both checkouts; whether both ended well. What failed is printed.

    runs : the folder to run in -> the checkout whose code is run.
    """
    for folder, project in runs.items():
        print(f"running {configfile.name} with the code of {project} ...", flush=True)
        how = {"targets": TARGETS, "project": project, "environment": environment_of(project)}
        try:
            run_study(folder, configfile, "default", "--cores", str(cores), **how)
        except subprocess.CalledProcessError:
            print((folder / "snakemake.log").read_text()[-5000:], file=sys.stderr)
            return False
    return True


def report_difference(allowed: Mapping[str, Iterable[str]], wrong: Iterable[str], identical: int) -> None:
    """Print what was compared, and every file that differs."""
    print(f"  {identical:4}  files are identical")
    for reason, names in allowed.items():
        print(f"  {len(list(names)):4}  {reason}")
    for name in wrong:
        print(f"DIFFERS: {name}")


def acknowledge(base: str, folder: Path, configfile: Path, cores: int) -> int:
    """Compare, and add the rows; the exit status."""
    commit = git("rev-parse", "--short=12", f"{base}^{{commit}}")
    checkout = folder / f"checkout-{commit}"
    if not checkout.exists():
        git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(checkout))
    git("checkout", "--quiet", "--detach", commit, folder=checkout)
    runs = {folder / f"before-{commit}": checkout, folder / "after": ROOT}
    shutil.rmtree(folder / "after", ignore_errors=True)  # of an earlier call, with other code
    (folder / "parsed").mkdir(exist_ok=True)
    before, _ = digests_of(checkout, configfile, folder / "parsed")
    after, rules = digests_of(ROOT, configfile, folder / "parsed")
    if not new_rows(before, after, ""):
        print(f"every rule has the code of {commit}: there is nothing to acknowledge")
        return 0
    if not run_both(runs, configfile, cores):
        return 1
    if digests_of(ROOT, configfile, folder / "parsed")[0] != after:
        raise InputError("the code was changed while the study ran: nothing is recorded; run this again")
    identical, allowed, wrong = compare(*(run / "results" for run in runs), BETWEEN_CODES)
    report_difference(allowed, wrong, len(identical))
    if wrong or not identical:
        print(f"{len(wrong)} files differ from those of {commit}: NOTHING is recorded", file=sys.stderr)
        return 1
    others = sum(map(len, allowed.values()))
    evidence = f"{configfile.stem}: {len(identical)} files identical, {others} but for times and versions, to {commit}"
    rows = new_rows(before, after, evidence)
    add_rows(ROOT / TABLE, rows)
    read_equivalents(ROOT / TABLE)
    print(f"{len(rows)} rows added to {TABLE}: commit it with the refactoring")
    for rule in sorted(rules - {name for name, _ in before.keys() & after.keys()}):
        print(f"not recorded, as {configfile.name} does not run it with both codes: {rule}")
    return 0


def main() -> int:
    """Read the command line; the exit status is 1 if a file differs, or a study fails."""
    parser = argparse.ArgumentParser(
        prog="acknowledge_refactoring.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", metavar="REV", help="commit to compare with (default: see above)")
    parser.add_argument(
        "--configfile", type=Path, default=ROOT / "config/acknowledge.yaml", help="study to run (default: %(default)s)"
    )
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="cores of each run (default: all)")
    parser.add_argument("--folder", type=Path, help="a folder to work in, which is kept (default: temporary)")
    arguments = parser.parse_args()
    base, configfile = arguments.base or choose_base(), arguments.configfile.resolve()
    try:
        if arguments.folder:
            arguments.folder.mkdir(parents=True, exist_ok=True)
            return acknowledge(base, arguments.folder.resolve(), configfile, arguments.cores)
        with tempfile.TemporaryDirectory(prefix="acknowledge-") as temporary:
            return acknowledge(base, Path(temporary), configfile, arguments.cores)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"Error: git: {error.stderr.strip()}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
