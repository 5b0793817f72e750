"""The record of what results were made from, and the comparison with what is there now."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from equinuclei.analysis.manifest import check_provenance, write_provenance
from equinuclei.checksums import sha256
from equinuclei.errors import InputError
from equinuclei.runtime.equivalent_code import COLUMNS, RuleCode, add_rows

ROOT = Path(__file__).parents[3]
RUN = {"seed": 0, "train_seconds": 1.0, "train_cpu_seconds": 2.0, "resumed_after_epoch": 0, "images": 2}
RUN |= {"data_sha256": "d", "code_sha256": "c", "code_version": "0"}
RUN |= {"packages": {"torch": "2"}, "hardware": {"processor": "p"}}


@pytest.fixture
def recorded(tmp_path):
    """Results of one data set with two source files, and their record."""
    folder, source = tmp_path / "results" / "set", tmp_path / "source"
    (folder / "images.zarr" / "c").mkdir(parents=True)
    (folder / "images.zarr" / "c" / "0").write_bytes(b"pixels")
    source.mkdir()
    row = {}
    for kind in ("image", "mask"):
        (source / f"{kind} 1.tif").write_bytes(kind.encode())
        row |= {f"{kind}_file": f"{kind} 1.tif", f"{kind}_sha256": sha256(source / f"{kind} 1.tif")}
    with (folder / "fields.tsv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row, delimiter="\t")
        writer.writeheader()
        writer.writerow(row)
    (folder / "run.json").write_text(json.dumps(RUN))
    record = {"source": {"layout": "table", "path": str(source / "images.tsv")}}
    (folder / "source.json").write_text(json.dumps(record))
    write_provenance(
        folder,
        files=[folder / "fields.tsv", folder / "run.json"],
        stores=[folder / "images.zarr"],
        runs=[folder / "run.json"],
        source=folder / "source.json",
        config={"seeds": [0]},
        code=[{"rule": "score_otsu", "architecture": "", "digest": RuleCode(ROOT).of("score_otsu")}],
        output=folder / "tables" / "provenance.json",
    )
    return folder, source


def check(folder, **how):
    return {(verdict, what) for verdict, what, _ in check_provenance(folder, ROOT, **how)}


def test_what_was_recorded_is_found_again(recorded):
    folder, _ = recorded
    whole = {("ok", name) for name in ("fields.tsv", "run.json", "images.zarr", "score_otsu", "source")}
    assert check(folder) == whole
    for no_content in (".snakemake_timestamp", ".made.json"):
        (folder / "images.zarr" / no_content).touch()
    assert check(folder) == whole
    assert {what for verdict, what in check(folder, fast=True) if verdict == "unchecked"} == {"images.zarr", "source"}


def test_every_change_is_told_by_name(recorded):
    folder, source = recorded
    (folder / "images.zarr" / "c" / "1").write_bytes(b"more")
    (source / "image 1.tif").write_bytes(b"another")
    (source / "mask 1.tif").unlink()
    (folder / "run.json").unlink()
    changed = {entry for entry in check(folder) if entry[0] != "ok"}
    assert changed == {
        ("differs", "images.zarr"), ("differs", "image 1.tif"), ("missing", "mask 1.tif"), ("missing", "run.json"),
    }  # fmt: skip


def test_a_source_that_was_taken_away_is_not_a_change(recorded):
    folder, source = recorded
    shutil.rmtree(source)
    assert ("unchecked", "source") in check(folder) and not [v for v, _ in check(folder) if v == "differs"]


@pytest.mark.parametrize("content", [None, "", "{}", '{"format": 99}'])
def test_a_record_that_cannot_be_used_is_told(tmp_path, content):
    (tmp_path / "tables").mkdir()
    if content is not None:
        (tmp_path / "tables" / "provenance.json").write_text(content)
    with pytest.raises(InputError, match=r"provenance.json: (not a readable record|written by another version)"):
        check(tmp_path)


def recorded_code(folder, *entries):
    """What is found of the code where these entries are recorded."""
    path = folder / "tables" / "provenance.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"code": entries}))
    others = {*record["files"], *record["stores"], "source"}
    return {what: verdict for verdict, what in check(folder, fast=True) if what not in others}


def test_code_of_another_digest_or_of_no_rule_is_told(recorded):
    found = recorded_code(
        recorded[0],
        {"rule": "train_model", "architecture": "unet", "digest": "0" * 16},
        {"rule": "train_model", "architecture": "gunet", "digest": RuleCode(ROOT).of("train_model", "gunet")},
        {"rule": "train_model", "architecture": "vnet", "digest": "0" * 16},
        {"rule": "no_rule", "architecture": "", "digest": "0" * 16},
    )
    assert found == {"train_model unet": "differs", "train_model gunet": "ok", "train_model vnet": "differs",
                     "no_rule": "missing"}  # fmt: skip


def test_a_record_with_names_of_scripts_is_checked_by_its_digests(recorded, tmp_path, monkeypatch):
    """Records of before the move into packages name a script, and the file of an architecture."""
    code = RuleCode(ROOT)
    rows = [
        ("score_test", "", code.digest("score_test"), "a" * 16),
        ("train_model", "unet", code.digest("train_model", "unet"), "b" * 16),
    ]
    add_rows(tmp_path / "table.tsv", [dict(zip(COLUMNS, (*row, "a test"), strict=True)) for row in rows])
    monkeypatch.setattr("equinuclei.runtime.equivalent_code.TABLE", tmp_path / "table.tsv")
    found = recorded_code(
        recorded[0],
        {"script": "score_test.py", "extra": [], "digest": "a" * 16},
        {"script": "score_otsu.py", "extra": [], "digest": "a" * 16},
        {"script": "train_model.py", "extra": ["equinuclei/models/unet.py"], "digest": "b" * 16},
    )
    old = "train_model.py equinuclei/models/unet.py"
    assert found == {"score_test.py": "ok", "score_otsu.py": "differs", old: "ok"}
