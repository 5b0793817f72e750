"""What `snakemake -n` wants to make again after each kind of edit of the code, when the tiny study has run."""

import json
import re
import shutil

import pytest
from conftest import TINY, planned_jobs, project, snakemake
from edits import annotations, comments, docstrings, edited, messages, renamed_module, replaced, statements, unused

from equinuclei.runtime.codehash import library
from equinuclei.runtime.equivalent_code import COLUMNS, TABLE, RuleCode, add_rows

LIBRARY = "equinuclei/**/*.py"
RUNTIME = "equinuclei/runtime"


def another_version(text):
    return re.sub(r'__version__ = ".*"', '__version__ = "9.9"', text)


# Edits that can change no byte: nothing is to be made again. They are made one after the other, in the same text.
HARMLESS = {
    "the version": [("equinuclei/__init__.py", another_version)],
    "an interval of the runtime": [(f"{RUNTIME}/ownership.py", replaced("POLL = 2.0", "POLL = 3.0"))],
    "a constant that messages use": [("equinuclei/errors.py", replaced("SHOWN_PROBLEMS = 5", "SHOWN_PROBLEMS = 9"))],
    "comments and layout": [(LIBRARY, comments), ("workflow/scripts/*.py", comments)],
    "docstrings": [(LIBRARY, docstrings)],
    "annotations": [(LIBRARY, annotations)],
    "texts of errors and log messages": [(LIBRARY, messages)],
    "the code of the runtime": [(f"{RUNTIME}/job.py", statements), (f"{RUNTIME}/ownership.py", statements)],
    "the command line": [("equinuclei/cli/*.py", statements)],
    "statements that nothing reaches": [(LIBRARY, unused)],
    "another architecture": [("equinuclei/networks/gunet.py", statements)],
    "the code of plates": [("equinuclei/plates/[!i]*.py", statements)],
}

# Edits that can: file -> the first rules to run again with their jobs, and rules that must not.
CHANGES = {
    "equinuclei/images/metrics.py": (
        {"score_test": 2, "score_otsu": 1},
        {"convert_dataset", "choose_learning_rate", "train_model", "predict_test"},
    ),
    "equinuclei/images/pixel_metrics.py": (
        {"score_test": 2, "score_otsu": 1, "choose_learning_rate": 1},
        {"convert_dataset", "split_dataset", "binarize_masks"},
    ),
    "equinuclei/training/crops.py": (
        {"train_model": 2, "choose_learning_rate": 1},
        {"convert_dataset", "split_dataset", "score_otsu"},
    ),
    "equinuclei/training/tuning.py": ({"choose_learning_rate": 1, "train_model": 1}, {"convert_dataset", "score_otsu"}),
    "equinuclei/networks/simplified_unet.py": (
        {"train_model": 2, "choose_learning_rate": 1},
        {"convert_dataset", "score_otsu"},
    ),
    "equinuclei/figures/scores.py": ({"draw_figures": 1, "report_study": 1}, {"aggregate_f1", "record_provenance"}),
    "equinuclei/dataset/splits.py": ({"split_dataset": 1}, {"convert_dataset", "binarize_masks"}),
    "equinuclei/simulation/fields.py": ({"simulate_dataset": 1, "convert_dataset": 1}, set()),
    "workflow/scripts/score_otsu.py": ({"score_otsu": 1}, {"convert_dataset", "train_model", "score_test"}),
}  # fmt: skip


def wanted(study, *arguments):
    run = snakemake(study[0], "--dry-run", "study", *arguments)
    return planned_jobs(run)


def test_edits_that_change_no_result_rerun_nothing(study):
    with edited(*(edit for edits in HARMLESS.values() for edit in edits)):
        together = wanted(study)
    assert not together or not [name for name, edits in HARMLESS.items() if wanted_after(study, edits)]
    assert not together


def wanted_after(study, edits):
    """What is wanted after some edits alone: for the person who has to know which it was."""
    with edited(*edits):
        return wanted(study)


def test_a_module_may_move(study):
    with (
        renamed_module("equinuclei.images.masks", "equinuclei.dataset.true_masks"),
        renamed_module("equinuclei.training.crops", "equinuclei.training.patches"),
    ):
        assert wanted(study) == {}


@pytest.mark.parametrize("file", CHANGES)
def test_a_changed_statement_reruns_the_rules_that_reach_it(study, file):
    first, kept = CHANGES[file]
    change = statements if file.startswith("equinuclei") else unused
    with edited((file, change)):
        jobs = wanted(study)
    assert first.items() <= jobs.items() and not kept & jobs.keys()


def test_a_page_is_made_again_alone(study):
    with edited(("equinuclei/pages/*.py", statements)):
        assert wanted(study) == {"report_study": 1, "study": 1}


def test_an_acknowledged_refactoring_reruns_nothing(study):
    """Results recorded with the old digest are those of the new one, once the table says so."""
    before = RuleCode(project())
    rules = [(rule, "simplified") for rule in ("choose_learning_rate", "train_model", "predict_test")]
    rules += [(rule, "") for rule in ("predict_test", "score_test", "score_otsu")]
    old = {rule: before.of(*rule) for rule in rules}
    table = project() / TABLE
    rows = table.read_text() if table.exists() else None
    with edited(("equinuclei/networks/layers.py", statements), ("equinuclei/images/metrics.py", statements)):
        library.cache_clear()
        after = RuleCode(project())
        assert {"train_model": 2, "score_test": 2}.items() <= wanted(study).items()
        same = [(rule, name, after.digest(rule, name), old[rule, name], "a test") for rule, name in rules]
        try:
            add_rows(table, [dict(zip(COLUMNS, row, strict=True)) for row in same if row[2] != row[3]])
            assert wanted(study) == {}
        finally:
            if rows is None:
                table.unlink()
            else:
                table.write_text(rows)
    library.cache_clear()


def test_results_know_the_digest_that_they_were_made_with(study, tmp_path):
    record = json.loads((study[0] / "results/tiny/tables/provenance.json").read_text())
    code = {(entry["rule"], entry["architecture"]): entry["digest"] for entry in record["code"]}
    run = json.loads((study[0] / "results/tiny/models/turning/fluorescence/seed0/run.json").read_text())
    assert run["code_sha256"] == code["train_model", "simplified"]


def test_a_file_that_is_not_python_ends_the_parsing_with_one_message(study, tmp_path):
    shutil.copytree(study[0], tmp_path / "copy", ignore=shutil.ignore_patterns("results"))
    with edited(("equinuclei/images/masks.py", lambda text: text + "\ndef (:\n")):
        run = snakemake(tmp_path / "copy", "--dry-run", "study", config=TINY, check=False)
    assert run.returncode and "masks.py: not readable as Python" in run.stdout and "Traceback" not in run.stdout
