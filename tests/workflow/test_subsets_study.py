"""Learning curves and one cell line left out, switched on in a study that has run: what is made, and what is kept."""

import copy
import json
import shutil

import pandas as pd
import pytest
from conftest import TINY, planned_jobs, snakemake

from equinuclei.checksums import sha256
from equinuclei.dataset.parts import read_splits
from equinuclei.tables.columns import tables as dictionary

OPTIONS = {
    "learning_curve": {"models": ["turning"], "groups": [4]},
    "leave_one_cell_line_out": {"models": ["turning"], "cell_lines": ["HeLa"]},
}
DERIVED = ("turning_4groups", "turning_without-HeLa")
NEW_JOBS = dict.fromkeys(("train_model", "predict_test", "score_test"), 2) | dict.fromkeys(
    ("list_subsets", "aggregate_learning_curve", "draw_learning_curve", "aggregate_left_out", "draw_left_out"), 1
)


def with_options(**changes):
    return {**copy.deepcopy(TINY), **OPTIONS, **changes}


@pytest.fixture(scope="module")
def extended(study, tmp_path_factory):
    """A copy of the tiny study, run again with the options on; its folder, and the jobs that were planned."""
    folder = tmp_path_factory.mktemp("extended") / "study"
    shutil.copytree(study[0], folder)
    jobs = planned_jobs(snakemake(folder, "--dry-run", "study", config=with_options()))
    before = checksums(folder)
    snakemake(folder, "study", config=with_options())
    return folder, jobs, before


def checksums(folder):
    """Of all files of the study but the record of what it was made from, and the page, which shows that."""
    files = [path for path in folder.joinpath("results/tiny").rglob("*") if path.is_file()]
    return {path: sha256(path) for path in files if path.name not in ("provenance.json", "report.html")}


def table(folder, name):
    return pd.read_csv(folder / "results/tiny/tables" / f"{name}.tsv", sep="\t")


def test_the_options_add_jobs_and_leave_all_other_bytes_as_they_were(extended):
    folder, jobs, before = extended
    assert jobs == NEW_JOBS | {"record_provenance": 1, "report_study": 1, "study": 1}
    after = checksums(folder)
    assert {path: after.get(path) for path in before} == before
    added = {path.relative_to(folder / "results/tiny").as_posix() for path in after.keys() - before.keys()}
    runs = {path for path in added if path.startswith("models/")}
    assert {path.split("/")[1] for path in runs} == set(DERIVED)
    figures = {
        f"figures/{name}.{end}" for name in ("learning_curve", "leave_one_cell_line_out") for end in ("png", "pdf")
    }
    tables = {
        f"tables/{name}.tsv" for name in ("learning_curve", "learning_curve_contrasts", "leave_one_cell_line_out")
    }
    assert added - runs == {"subsets.tsv", *figures, *tables}
    assert "Nothing to be done" in snakemake(folder, "--dry-run", "study", config=with_options()).stdout


def test_a_derived_model_learns_from_its_subset_alone_in_as_many_steps(extended):
    folder, *_ = extended
    splits = read_splits(folder / "results/tiny/splits.tsv").set_index("image_id")
    subsets = pd.read_csv(folder / "results/tiny/subsets.tsv", sep="\t")
    listed = subsets.groupby("subset")["group"].agg(set)
    assert {name: len(groups) for name, groups in listed.items()} == {"4groups": 4, "all": 14, "without-HeLa": 12}
    assert set(splits.loc[splits["group"].isin(listed["all"]), "part"]) == {"train"}
    assert not subsets.loc[subsets["subset"] == "without-HeLa", "cell_line"].eq("HeLa").any()
    for model, subset, images in zip(DERIVED, ({"groups": 4}, {"without": "HeLa"}), (4, 12), strict=True):
        run = folder / "results/tiny/models" / model / "fluorescence/seed0"
        record = json.loads((run / "run.json").read_text())
        assert record["subset"] == subset and record["images"] == images and record["crops_per_epoch"] == 14
        assert len(pd.read_csv(run / "history.csv")) == TINY["training"]["epochs"]
        assert pd.read_parquet(run / "scores.parquet")["image_id"].nunique() == 7
    provenance = json.loads((folder / "results/tiny/tables/provenance.json").read_text())
    assert len(provenance["trainings"]) == 4 and "tables/learning_curve.tsv" in provenance["files"]
    assert provenance["config"]["models"]["turning_4groups"]["subset"] == {"groups": 4}


def test_the_tables_answer_and_agree_with_those_of_the_study(extended):
    folder, *_ = extended
    curve = table(folder, "learning_curve")
    assert set(curve["model"]) == {"turning"} and set(curve["inference"]) == {"deployed", "exact"}
    f1 = curve[(curve["measure"] == "pixel_F1") & (curve["inference"] == "deployed")]
    assert f1[["train_groups", "train_images"]].to_numpy().tolist() == [[4, 4], [14, 14]]
    keys = ["model", "inference", "measure"]
    intervals = table(folder, "intervals").set_index(keys)
    whole = curve[curve["train_groups"] == 14].set_index(keys)
    columns = ["images", "groups", "seeds", "value", "low", "high"]
    pd.testing.assert_frame_equal(whole[columns], intervals.loc[whole.index, columns])
    assert table(folder, "learning_curve_contrasts").empty  # one model and mode: nothing to compare
    left_out = table(folder, "leave_one_cell_line_out")
    assert set(left_out["cell_line"]) == {"HeLa"} and left_out["images"].eq(1).all()
    by_line = table(folder, "f1_by_cell_line").set_index(["cell_line", "model", "inference"])
    row = left_out[(left_out["measure"] == "pixel_F1") & (left_out["inference"] == "deployed")].iloc[0]
    assert row["with"] == pytest.approx(by_line.loc[("HeLa", "turning", "deployed"), "pixel_F1"], abs=1e-5)


def test_the_columns_are_told(extended):
    folder, *_ = extended
    names = ("learning_curve", "learning_curve_contrasts", "leave_one_cell_line_out")
    tables = {f"study/{name}.tsv": table(folder, name) for name in names}
    subsets = pd.read_csv(folder / "results/tiny/subsets.tsv", sep="\t")
    for name, written in (tables | {"study/subsets.tsv": subsets}).items():
        assert set(written) == {column.name for column in dictionary()[name]}, name


def test_another_size_trains_no_other_size_again(extended):
    folder, *_ = extended
    more = {"models": ["turning"], "groups": [2, 4]}
    jobs = planned_jobs(snakemake(folder, "--dry-run", "study", config=with_options(learning_curve=more)))
    assert jobs["train_model"] == jobs["list_subsets"] == jobs["aggregate_learning_curve"] == 1
    assert "aggregate_f1" not in jobs and "aggregate_left_out" not in jobs
    # Other settings at the same time are not overlooked.
    plain, turning = TINY["models"]
    models = [plain, {**turning, "training": {"epochs": 5}}]
    config = with_options(learning_curve=more, models=models)
    assert planned_jobs(snakemake(folder, "--dry-run", "study", config=config))["train_model"] == 2 + len(DERIVED)


def test_every_derived_model_has_a_run_per_seed_and_one_choice_of_its_learning_rate(tmp_path):
    curve = {"models": ["plain", "turning"], "groups": [3, 5, 7]}
    left_out = {"models": ["plain"], "cell_lines": ["HeLa", "A549"]}
    config = with_options(learning_curve=curve, leave_one_cell_line_out=left_out, seeds=[0, 1])
    jobs = planned_jobs(snakemake(tmp_path, "--dry-run", "study", config=config))
    assert jobs["train_model"] == jobs["predict_test"] == jobs["score_test"] == (2 + 2 * 3 + 2) * 2
    assert jobs["choose_learning_rate"] == 1 + 3 + 2  # of "plain" and what is derived from it
    assert jobs["aggregate_f1"] == jobs["list_subsets"] == 1


def test_a_subset_that_cannot_be_made_is_told_at_once_and_not_trained_on(study, tmp_path):
    shutil.copytree(study[0] / "results/tiny", tmp_path / "results/tiny", ignore=shutil.ignore_patterns("models", ".*"))
    config = with_options(learning_curve={"models": ["turning"], "groups": [4, 14]})
    weights = "models/turning_14groups/fluorescence/seed0/weights.safetensors"
    targets = [f"results/tiny/{name}" for name in ("subsets.tsv", weights)]
    run = snakemake(tmp_path, *targets, "--rerun-triggers", "mtime", config=config, check=False)
    assert run.returncode == 1 and "Traceback" not in run.stdout
    for rule, log in (("list_subsets", "tiny"), ("train_model", "tiny/turning_14groups_fluorescence_seed0")):
        told = (tmp_path / f"results/logs/{rule}/{log}.log").read_text()
        assert "learning_curve: 14 groups were requested, but the training part has only 14" in told
        assert len(told.splitlines()) == 1 and told.strip() in run.stdout
