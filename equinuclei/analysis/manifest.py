"""What the results of a data set were made from: written beside its tables, and compared with what is there now."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from equinuclei.checksums import sha256, tree_sha256
from equinuclei.errors import InputError
from equinuclei.runtime.equivalent_code import RuleCode
from equinuclei.runtime.files import read_record, write_json
from equinuclei.runtime.provenance import code_version, hardware, locked_packages, package_versions, read_run
from equinuclei.specs import ARCHITECTURES
from equinuclei.tables.files import read_table

TRAINING_KEYS = (
    *("seed", "train_seconds", "train_cpu_seconds", "resumed_after_epoch"),
    *("images", "data_sha256", "code_sha256", "code_version"),
)
MACHINE_KEYS = ("packages", "lock", "hardware", "hardware_before")
FORMAT = 1
_AGAIN = "delete it and run again: the data set is converted again"


def write_provenance(
    folder: str | Path,
    *,
    files: Iterable[str | Path],
    stores: Iterable[str | Path],
    runs: Iterable[str | Path],
    source: str | Path,
    config: Mapping,
    code: Sequence[Mapping],
    output: str | Path,
) -> None:
    """Write provenance.json: code, configuration, environment, hardware, seeds, data and the checksums of results.

    Parameters
    ----------
    folder
        Results of one data set. `files` (weights, records, tables, ...) and `stores` (OME-Zarr) lie in it and are
        named relative to it, with the SHA-256 of their bytes, of a store those of all its files.
    runs
        run.json of every training, whose seed, environment and checksums are kept.
    source
        source.json of `equinuclei.dataset.convert.convert_dataset`.
    config
        The settings of this data set with every default filled in, plain values.
    code
        `rule`, `architecture` and `digest` of the code behind every rule (see `equinuclei.runtime.equivalent_code`).
    output
        JSON to make.
    """
    folder = Path(folder)
    trainings = []
    for run in map(Path, runs):
        record = read_run(run)
        trainings.append(
            {
                "run": run.relative_to(folder).as_posix(),
                **{key: record[key] for key in TRAINING_KEYS},
                "attempts": record.get("attempts", []),
                **{key: record[key] for key in MACHINE_KEYS if key in record},  # older ones have fewer
            }
        )
    write_json(
        output,
        {
            "format": FORMAT,
            "code_version": code_version(),
            "code": [dict(entry) for entry in code],
            "config": dict(config),
            "source": read_record(source, "the record of the conversion", _AGAIN),
            "packages": package_versions(),
            "lock": locked_packages(),
            "hardware": hardware(),
            "trainings": trainings,
            "files": {Path(path).relative_to(folder).as_posix(): sha256(path) for path in sorted(map(Path, files))},
            "stores": {
                Path(path).relative_to(folder).as_posix(): tree_sha256(path) for path in sorted(map(Path, stores))
            },
        },
    )


def check_provenance(folder: str | Path, root: str | Path, *, fast: bool = False) -> Iterator[tuple[str, str, str]]:
    """Compare the results of a data set with what their record says of them.

    Parameters
    ----------
    folder
        Results of one data set, with `tables/provenance.json`.
    root
        The checkout whose code is compared with.
    fast
        Look at files alone, not at the pixels of stores and source.

    Yields
    ------
    (verdict, what, why)
        A line per thing looked at; verdict is "ok", "differs", "missing" or "unchecked".

    Raises
    ------
    InputError
        If there is no readable record.
    """
    folder, root = Path(folder), Path(root)
    path = folder / "tables" / "provenance.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = record["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a readable record ({error}): name the folder of a data set whose study has run"
        ) from error
    if not known:
        raise InputError(f"{path}: written by another version of this project: run the study again")
    for name, checksum in record["files"].items():
        yield _compare(folder / name, name, checksum, sha256)
    for name, checksum in record["stores"].items():
        if fast:
            yield "unchecked", name, "left out"
        else:
            yield _compare(folder / name, name, checksum, tree_sha256)
    code = RuleCode(root)
    for entry in record["code"]:
        yield _compare_code(code, entry)
    if fast:
        yield "unchecked", "source", "left out"
    else:
        yield from _check_source(folder / "fields.tsv", record["source"]["source"])


def _compare_code(code: RuleCode, entry: Mapping) -> tuple[str, str, str]:
    """The code behind a rule against the recorded digest, or one that is known to make the same bytes.

    Older records, whose digests covered whole modules, name a script and the file of an architecture.
    """
    rule, architectures = entry.get("rule"), [entry.get("architecture", "")]
    what = " ".join(filter(None, [rule, *architectures]))
    if rule is None:
        rule, architectures = Path(entry["script"]).stem, list(ARCHITECTURES) if entry["extra"] else [""]
        what = " ".join([entry["script"], *entry["extra"]])
    if not code.script(rule).is_file():
        return "missing", what, "the code has no such rule now"
    now = {code.of(rule, name) for name in architectures if name in ARCHITECTURES or not name}
    if code.first(rule, entry["digest"]) in now:
        return "ok", what, ""
    return "differs", what, "the code is another than the one that made the results"


def _compare(path: Path, name: str, checksum: str, of: Callable[[Path], str]) -> tuple[str, str, str]:
    if not path.exists():
        return "missing", name, "it was recorded, and is not there"
    return ("ok", name, "") if of(path) == checksum else ("differs", name, "its content is not the recorded one")


def _check_source(fields: Path, source: Mapping) -> Iterator[tuple[str, str, str]]:
    """Images and masks against the checksums of fields.tsv, which is itself among the files."""
    path = Path(source["path"])
    root = (path if source["layout"] == "folder" else path.parent).absolute()
    if not root.is_dir() or not fields.is_file():
        yield "unchecked", "source", f"{root} is not here"
        return
    of_source = read_table(fields, "study/fields.tsv", ["image_file", "image_sha256", "mask_file", "mask_sha256"])
    expected = {
        name: checksum
        for kind in ("image", "mask")
        for name, checksum in zip(of_source[f"{kind}_file"], of_source[f"{kind}_sha256"], strict=True)
    }
    wrong = 0
    for name, checksum in sorted(expected.items()):
        verdict = _compare(root / name, name, checksum, sha256)
        if verdict[0] != "ok":
            wrong += 1
            yield verdict
    if not wrong:
        yield "ok", "source", f"{len(expected)} files"
