"""The whole study on a tiny simulated set: its results, and reruns that do what they must and no more."""

import copy
import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
import yaozarrs
import zarr
from conftest import TINY, planned_jobs, project, snakemake
from edits import edited, statements
from ome_zarr_models.v05 import Image

from equinuclei.checksums import RECORD, sha256
from equinuclei.dataset.parts import read_fields, read_predictions, read_splits
from equinuclei.networks.checkpoint import load_model, read_metadata
from equinuclei.omezarr.stacks import open_stack, store_attributes
from equinuclei.specs import INFERENCES
from equinuclei.tables.columns import column_of
from equinuclei.tables.columns import tables as dictionary
from support.browser import in_browser


def result(study, *parts):
    folder, _ = study
    return folder.joinpath("results", "tiny", *parts)


def run_folder(study, model):
    return result(study, "models", model, "fluorescence", "seed0")


def table(study, name):
    return pd.read_csv(result(study, "tables", name), sep="\t")


def test_the_data_set_is_converted_and_split(study):
    fields = read_fields(result(study, "fields.tsv"))
    splits = read_splits(result(study, "splits.tsv"))
    assert len(fields) == 2 * 28 and set(fields["array"]) == {"fluorescence/72x90", "brightfield/72x90"}
    assert splits["part"].value_counts().to_dict() == {"train": 14, "val": 7, "test": 7}
    assert splits.groupby("cell_line")["part"].apply(lambda parts: sorted(set(parts))).map(len).eq(3).all()
    checksum, name = result(study, "splits.tsv.sha256").read_text().split()
    assert (checksum, name) == (sha256(result(study, "splits.tsv")), "splits.tsv")


@pytest.mark.parametrize("store", ["images.zarr", "annotations.zarr", "targets.zarr", "predictions"])
def test_every_store_is_valid_ome_zarr(study, store):
    path = run_folder(study, "turning") / "predictions.zarr" if store == "predictions" else result(study, store)
    stacks = [folder for folder in path.rglob("72x90") if folder.is_dir()]
    assert stacks
    for stack in stacks:
        yaozarrs.validate_zarr_store(str(stack))
        Image.from_zarr(zarr.open_group(stack, mode="r"))


@pytest.mark.parametrize("model", ["plain", "turning"])
def test_predictions_are_stored_mode_by_mode(study, model):
    store = run_folder(study, model) / "predictions.zarr"
    made = store_attributes(store)
    assert made["inferences"] == (list(INFERENCES) if model == "plain" else ["deployed", "exact"])
    assert len(made["transforms"]) == 8
    stacks = {path.relative_to(store).as_posix() for path in store.rglob("72x90") if path.is_dir()}
    assert stacks == {f"{i}/{t}/fluorescence/72x90" for i in made["inferences"] for t in made["transforms"]}


def test_training_leaves_weights_history_and_a_record(study):
    folder = run_folder(study, "turning")
    assert load_model(folder / "weights.safetensors").group == "p4"
    history = pd.read_csv(folder / "history.csv")
    assert len(history) == 12 and "val_F1" in history
    run = json.loads((folder / "run.json").read_text())
    assert run["images"] == 14 and run["dataset"] == "tiny" and run["training"]["crop"] == 64
    assert run["training"]["learning_rate"] == 0.005 and "learning_rate_chosen_from" not in run


def test_a_trained_model_carries_its_certificate(study):
    folder = run_folder(study, "turning")
    certificate = json.loads((folder / "run.json").read_text())["equivariance"]
    assert read_metadata(folder / "weights.safetensors")["equivariance"] == certificate
    rotations = [f"rotated_{degrees}" for degrees in ("000", "090", "180", "270")]
    assert certificate["group"] == "p4"
    assert max(certificate["float64"][name] for name in rotations) <= 1e-12
    assert max(certificate["float32"][name] for name in rotations) <= 5e-5
    assert {certificate["exact"][name] for name in rotations} == {0}
    assert certificate["exact"]["mirrored_rotated_000"] > 1e-3  # no symmetry of p4


def test_trained_models_are_exported_and_evaluated_on_demand(study):
    folder, _ = study
    snakemake(folder, "export", "train_shipped")
    image = np.random.default_rng(0).normal(size=(1, 1, 64, 96)).astype(np.float32)
    network = load_model(run_folder(study, "turning") / "weights.safetensors")
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    session = onnxruntime.InferenceSession(run_folder(study, "turning") / "model.onnx")
    np.testing.assert_allclose(session.run(["logits"], {"image": image})[0], expected, atol=1e-5)
    assert (run_folder(study, "plain") / "model.pt2").is_file()
    assert zipfile.is_zipfile(run_folder(study, "plain") / "bioimage_model.zip")
    accuracy = pd.read_csv(run_folder(study, "turning") / "accuracy.tsv", sep="\t")
    scored = read_splits(result(study, "splits.tsv"))["part"].eq("test").sum()
    assert accuracy["method"].value_counts().to_dict() == {"model": scored, "Otsu and watershed": scored}
    assert "| AP at IoU 0.5" in (run_folder(study, "turning") / "accuracy.md").read_text()


def test_the_learning_rate_is_chosen_where_candidates_are_given_on_the_training_part_alone(study):
    choice = json.loads(result(study, "models", "plain", "fluorescence", "learning_rate.json").read_text())
    run = json.loads((run_folder(study, "plain") / "run.json").read_text())
    assert run["training"]["learning_rate"] == choice["learning_rate"]
    assert run["learning_rate_chosen_from"] == [c["learning_rate"] for c in choice["candidates"]] == [0.004, 0.006]
    assert choice["learning_rate"] == max(choice["candidates"], key=lambda candidate: candidate["F1"])["learning_rate"]
    splits = read_splits(result(study, "splits.tsv"))
    training = set(splits.loc[splits["part"] == "train", "image_id"])
    assert {*choice["trained_on"], *choice["held_out"]} == training and len(choice["held_out"]) == 3
    assert choice["tuning_epochs"] == 2 and choice["model"] == "plain"
    assert not result(study, "models", "turning", "fluorescence", "learning_rate.json").exists()


def test_a_choice_is_made_once_for_all_seeds_and_only_where_there_is_one(tmp_path):
    run = snakemake(tmp_path, "--dry-run", "study", config={**TINY, "seeds": [0, 1]})
    jobs = planned_jobs(run)
    assert jobs["choose_learning_rate"] == 1 and jobs["train_model"] == 4
    # What a dry run ends with: the table, the reasons per rule, and our warning.
    assert "Reason: " not in run.stdout and run.stdout.splitlines()[-1].startswith("seeds: ")
    last_screen = run.stdout.splitlines()[-35:]
    assert "Job 0: The study is complete" in last_screen and "Job stats:" in last_screen
    numbers = [{key: value for key, value in model.items() if key != "training"} for model in TINY["models"]]
    jobs = planned_jobs(snakemake(tmp_path, "--dry-run", "study", config={**TINY, "models": numbers}))
    assert "choose_learning_rate" not in jobs and jobs["train_model"] == 2


def test_predictions_of_an_equivariant_model_are_the_same_under_every_rotation(study):
    index = read_predictions(run_folder(study, "turning") / "predictions.tsv")
    assert len(index) == 7

    def predictions(model, inference, transform):
        store = run_folder(study, model) / "predictions.zarr"
        return np.asarray(open_stack(store, f"{inference}/{transform}/fluorescence/72x90")[:])

    for inference in ("deployed", "exact"):
        reference = predictions("turning", inference, "rotated_000")
        assert 0 < reference.mean() < 1
        for degrees in ("090", "180", "270"):
            np.testing.assert_array_equal(predictions("turning", inference, f"rotated_{degrees}"), reference)
        assert (predictions("plain", inference, "rotated_090") != predictions("plain", inference, "rotated_000")).any()


def test_the_scores_have_a_row_per_image_mode_and_transform(study):
    scores = pd.read_parquet(run_folder(study, "plain") / "scores.parquet")
    assert scores.columns[:5].tolist() == ["dataset", "model", "inference", "modality", "seed"]
    assert scores.groupby("inference").size().to_dict() == dict.fromkeys(INFERENCES, 7 * 8)
    assert not scores.duplicated(["image_id", "inference", "rotation", "mirrored"]).any()
    assert scores["part"].eq("test").all() and scores["model"].eq("plain").all()
    assert scores["pixel_F1"].between(0, 1).all()


def test_the_tables_compare_all_models_with_the_floor(study):
    f1 = table(study, "f1.tsv")
    plain = [("plain", mode) for mode in INFERENCES]
    rows = [*plain, ("turning", "deployed"), ("turning", "exact"), ("otsu", "deployed")]
    assert list(f1[["model", "inference"]].itertuples(index=False, name=None)) == rows
    assert f1["images"].eq(7).all() and len(set(f1["otsu_pixel_F1"])) == 1
    nets = f1[f1["model"] != "otsu"].set_index(["model", "inference"])
    assert nets["pixel_F1"].gt(0.6).all()  # both have learnt, and every mode shows it
    # "exact" differs from "deployed" by rounding.
    for model in ("plain", "turning"):
        assert nets.loc[(model, "exact"), "pixel_F1"] == pytest.approx(
            nets.loc[(model, "deployed"), "pixel_F1"], abs=0.01
        )
    assert nets[["parameters", "gflops", "train_seconds", "train_cpu_seconds"]].gt(0).all(axis=None)
    evaluations = nets.loc["plain", "gflops"] / nets.loc[("plain", "deployed"), "gflops"]
    assert evaluations.to_dict() == pytest.approx(INFERENCES)
    difference = table(study, "f1_difference.tsv").set_index(["model", "inference", "level"])
    assert len(difference) == 2 * len(rows) and difference.xs("pixel", level="level")["comparisons"].eq(21).all()
    exact = difference.loc[("turning", "exact", "pixel")]
    assert exact["exact_zeros"] == 1 and exact["mean_absolute"] == 0 and exact["identical_masks"] == 1
    for inference in ("deployed", "exact"):
        assert difference.loc[("plain", inference, "pixel"), "exact_zeros"] < 1
    # The controls are exact too: the canonical frame and eight transforms under mirrors as well, four under rotations.
    for inference in ("canonical", "tta4", "tta8"):
        assert difference.loc[("plain", inference, "pixel"), "identical_masks"] == 1
    mirrored = difference["mirrored_exact_zeros"]
    assert mirrored[("plain", "canonical", "pixel")] == mirrored[("plain", "tta8", "pixel")] == 1
    assert mirrored[("plain", "tta4", "pixel")] < 1 and mirrored[("turning", "exact", "pixel")] < 1
    assert difference.loc[("otsu", "deployed", "pixel"), "identical_masks"] == 1
    assert (difference.loc[["plain", "turning"], ["parameters", "gflops", "train_seconds"]] > 0).all(axis=None)
    by_line = table(study, "f1_by_cell_line.tsv")
    assert by_line.groupby("cell_line").size().eq(len(rows)).all() and by_line["cell_line"].nunique() == 7


def test_declared_contrasts_are_told_from_explored_ones(study):
    contrasts = table(study, "contrasts.tsv")
    declared = contrasts[contrasts["kind"] == "declared"]
    nets = ["a", "a_inference", "b", "b_inference", "measure"]
    assert declared[nets].to_numpy().tolist() == [
        ["turning", "deployed", "plain", "deployed", "pixel_F1"],
        ["turning", "deployed", "plain", "tta4", "pixel_F1"],
        ["turning", "deployed", "plain", "deployed", "pixel_difference"],
    ]
    exact = declared.iloc[2]
    assert [exact["verdict"], exact["note"]] == ["better", "a: zero by construction"]
    assert set(contrasts["kind"]) == {"declared", "exploratory"} and declared["p_holm"].notna().sum() == 2
    assert table(study, "contrasts_by_cell_line.tsv")["cell_line"].nunique() == 7
    intervals = table(study, "intervals.tsv")
    assert intervals[["low", "value", "high"]].notna().all(axis=None)
    assert table(study, "f1_by_threshold.tsv")["threshold"].nunique() == 10
    assert "declared contrasts" in result(study, "tables", "summary.txt").read_text()


def test_figures_are_drawn_and_the_tables_printed(study):
    _, output = study
    names = ["contrasts", "cost", "difference_reduction", "f1", "f1_by_cell_line", "f1_by_threshold", "f1_difference"]
    for name in (*names, "training_curves"):
        assert result(study, "figures", f"{name}.png").stat().st_size > 10_000
        assert result(study, "figures", f"{name}.pdf").read_bytes().startswith(b"%PDF")
    galleries = {
        folder: sorted(path.name for path in result(study, "figures", folder).glob("[!.]*.png"))
        for folder in ("contours", "masks", "rotations", "crops")
    }
    of_models = [f"fluorescence_{model}.png" for model in ("plain", "turning")]
    of_all = ["fluorescence.png"]
    # The images are smaller than a crop.
    assert galleries == {"contours": of_models, "masks": of_all, "rotations": of_all, "crops": []}
    assert len(list(result(study, "figures", "contours").glob("*.pdf"))) == 2
    assert table(study, "f1_difference_crops.tsv").empty
    summary = result(study, "tables", "summary.txt").read_text()
    assert "turning" in summary and summary in output and "results/tiny/figures/" in output
    assert "results/tiny/report.html" in output


def test_the_difference_is_compared_with_that_of_the_plain_twin(study):
    reduction = table(study, "difference_reduction.tsv").set_index(["model", "inference", "level"])
    assert set(reduction["twin"]) == {"plain"} and ("plain", "deployed", "pixel") not in reduction.index
    assert reduction.loc[("turning", "exact", "pixel"), "reduction"] == 1


def test_the_page_of_the_study_opens_in_a_browser(study, tmp_path):
    shutil.copy(result(study, "report.html"), tmp_path)
    count = "document.body.dataset.loaded = [...document.images].filter(image => image.naturalWidth > 0).length"
    dom, failures = in_browser(tmp_path / "report.html", count)
    assert failures == []
    images = dom.count("<img ")
    assert images == 8 + 2 + 1 + 1 and f'data-loaded="{images}"' in dom
    assert "turning is better than plain" in dom and "zero by construction" in dom
    assert str(study[0]) not in dom  # the page may be handed on


def test_snakemake_packs_a_report_with_captions_without_a_network(study, tmp_path):
    folder, _ = study
    without = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    snakemake(folder, "--report", str(tmp_path / "report.zip"), "study", environment=without)
    with zipfile.ZipFile(tmp_path / "report.zip") as packed:
        names = [name.rsplit("/", 1)[-1] for name in packed.namelist()]
        page = packed.read("report/report.html").decode()
    assert {"contrasts.tsv", "f1.tsv", "f1_difference.png", "fluorescence_turning.png", "cost.png"} <= set(names)
    assert names.count("report.html") == 2  # Snakemake's, and the page of the data set
    for told in ("Declared contrasts", "Sum over four rotations", "Pairs of models compared on the same images"):
        assert told in page, told


# Tables of options and of other targets than `study`.
ON_DEMAND = {
    f"study/{name}.tsv"
    for name in ("learning_curve", "learning_curve_contrasts", "leave_one_cell_line_out", "subsets", "accuracy")
} | {"study/turns_and_shifts.tsv", "study/turns_and_shifts.parquet"}


def columns_of(path):
    if path.suffix == ".parquet":
        return list(pd.read_parquet(path))
    return list(pd.read_csv(path, sep="," if path.suffix == ".csv" else "\t"))


def test_every_column_that_a_study_writes_is_told_and_none_else(study):
    folder, _ = study
    written = {}
    for path in (folder / "results/tiny").rglob("*"):
        if path.suffix in (".tsv", ".csv", ".parquet"):
            written.setdefault(f"study/{path.name}", set()).update(columns_of(path))
    told = {name: columns for name, columns in dictionary().items() if name.startswith("study/")}
    assert told.keys() - ON_DEMAND <= written.keys() <= told.keys()
    for name, columns in written.items():
        assert not [column for column in columns if column_of(name, column) is None], name
        unused = [column.name for column in told[name] if not any(map(column.fits, columns))]
        # Only sets with large images have crops, whose columns stand in the empty table all the same.
        assert not unused, (name, unused)


def test_every_job_leaves_a_log_and_a_benchmark(study):
    folder, _ = study
    names = ["simulate_dataset", "convert_dataset", "split_dataset", "binarize_masks", "choose_learning_rate",
             "train_model", "predict_test", "score_test", "score_otsu", "aggregate_f1", "draw_figures",
             "report_study"]  # fmt: skip
    for name in names:
        assert list((folder / "results/logs" / name).rglob("*.log")), name
        assert list((folder / "results/benchmarks" / name).rglob("*.tsv")), name


def test_no_unfinished_work_is_left(study):
    folder, _ = study
    hidden = {path.name for path in (folder / "results").rglob(".*") if ".snakemake" not in path.name}
    assert hidden == {RECORD}


def test_a_second_run_does_nothing(study):
    folder, _ = study
    run = snakemake(folder, "study")
    assert "Nothing to be done" in run.stdout


def test_a_changed_setting_reruns_what_depends_on_it(study):
    folder, _ = study
    changed = {**TINY, "evaluation": {**TINY["evaluation"], "examples": 1}}
    jobs = planned_jobs(snakemake(folder, "--dry-run", "study", config=changed))
    evaluation = {"predict_test": 2, "score_test": 2, "aggregate_f1": 1, "draw_figures": 1}
    evaluation |= {"record_provenance": 1, "report_study": 1, "study": 1}
    assert jobs == evaluation
    fewer = {**TINY, "contrasts": TINY["contrasts"][:1]}
    jobs = planned_jobs(snakemake(folder, "--dry-run", "study", config=fewer))
    assert jobs == {"aggregate_f1": 1, "draw_figures": 1, "record_provenance": 1, "report_study": 1, "study": 1}
    # "plain" has its own list of inference modes: the study's is not for it.
    changed = {**TINY, "evaluation": {**TINY["evaluation"], "inference": ["deployed"]}}
    jobs = planned_jobs(snakemake(folder, "--dry-run", "study", config=changed))
    assert jobs == evaluation | {"predict_test": 1, "score_test": 1}
    reordered = {**TINY, "evaluation": {**TINY["evaluation"], "inference": ["exact", "deployed"]}}
    assert not planned_jobs(snakemake(folder, "--dry-run", "study", config=reordered))
    longer = [TINY["models"][0], {**TINY["models"][1], "training": {"epochs": 5}}]
    jobs = planned_jobs(snakemake(folder, "--dry-run", "study", config={**TINY, "models": longer}))
    assert jobs["train_model"] == 1 and "convert_dataset" not in jobs


def test_changed_candidates_choose_and_train_one_model_anew(study):
    folder, _ = study
    plain, turning = TINY["models"]
    for change in ({"learning_rate": [0.001, 0.004, 0.006]}, {"tuning_epochs": 3}):
        models = [{**plain, "training": {**plain["training"], **change}}, turning]
        jobs = planned_jobs(snakemake(folder, "--dry-run", "study", config={**TINY, "models": models}))
        assert jobs["choose_learning_rate"] == jobs["train_model"] == 1 and "convert_dataset" not in jobs
    # `turning` is trained with one number, and `plain` has its own.
    unused = {**TINY, "training": {**TINY["training"], "tuning_epochs": 99}}
    assert "Nothing to be done" in snakemake(folder, "--dry-run", "study", config=unused).stdout


def test_deleting_the_weights_of_one_model_trains_that_model_alone(study):
    folder, _ = study
    weights = {model: run_folder(study, model) / "weights.safetensors" for model in ("plain", "turning")}
    before = {model: (sha256(path), path.stat().st_mtime_ns) for model, path in weights.items()}
    names = ("f1.tsv", "f1_difference.tsv", "f1_by_cell_line.tsv")
    times = ["train_seconds", "train_cpu_seconds"]
    tables = {name: table(study, name).drop(columns=times) for name in names}
    differences = sha256(result(study, "tables", "f1_differences.parquet"))
    weights["turning"].unlink()
    jobs = planned_jobs(snakemake(folder, "--dry-run", "study"))
    assert jobs == dict.fromkeys(
        (
            "train_model",
            "predict_test",
            "score_test",
            "aggregate_f1",
            "draw_figures",
            "record_provenance",
            "report_study",
            "study",
        ),
        1,
    )
    snakemake(folder, "study")
    assert sha256(weights["turning"]) == before["turning"][0]  # the same bytes again
    assert weights["plain"].stat().st_mtime_ns == before["plain"][1]
    for name in names:
        pd.testing.assert_frame_equal(table(study, name).drop(columns=times), tables[name])
    assert sha256(result(study, "tables", "f1_differences.parquet")) == differences


def check_run(folder, *arguments):
    command = [sys.executable, "-m", "equinuclei", "check", "results/tiny", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(project())}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_results_are_told_from_those_of_other_inputs_or_code(study):
    folder, _ = study
    provenance = json.loads(result(study, "tables", "provenance.json").read_text())
    assert provenance["config"]["seeds"] == [0] and len(provenance["trainings"]) == 2
    assert provenance["hardware"]["processor"] and "torch" in provenance["trainings"][0]["packages"]
    assert provenance["config"]["models"]["turning"]["spec"]["group"] == "p4"
    checked = check_run(folder)
    assert checked.returncode == 0 and "This is the recorded run" in checked.stdout, checked.stdout
    with edited(("equinuclei/images/metrics.py", statements)):
        changed = check_run(folder, "--fast")
    assert changed.returncode == 1 and "differs   score_test: the code is another" in changed.stdout
    image = next(result(study, "source", "images").glob("*.tif"))
    pixels = image.read_bytes()
    image.write_bytes(pixels + b"0")
    changed = check_run(folder)
    image.write_bytes(pixels)
    assert changed.returncode == 1 and f"differs   images/{image.name}" in changed.stdout


def test_two_devices_train_one_model(study, tmp_path):
    """Lightning starts the rule's script once more, for the second device."""
    folder, _ = study
    shutil.copytree(folder / "results/tiny", tmp_path / "results/tiny", ignore=shutil.ignore_patterns("models", ".*"))
    config = copy.deepcopy(TINY)
    config["training"] |= {"devices": 2, "epochs": 2}
    config["models"] = [{"name": "shared", "preset": "simplified-p4", "widths": [2, 4]}]
    config["contrasts"] = []
    run = "results/tiny/models/shared/fluorescence/seed0"
    snakemake(tmp_path, f"{run}/weights.safetensors", "--rerun-triggers", "mtime", config=config)
    assert json.loads((tmp_path / run / "run.json").read_text())["training"]["devices"] == 2
    log = (tmp_path / "results/logs/train_model/tiny/shared_fluorescence_seed0.log").read_text()
    # One of the two writes the log, once for each attempt: two epochs are few.
    assert log.count("epoch 2/2") == len(json.loads((tmp_path / run / "run.json").read_text())["attempts"])
