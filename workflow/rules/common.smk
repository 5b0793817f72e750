# What the rules share: the checked configuration, paths, and resources that grow with the attempt.

import os
import signal
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

# Rules import the library from this checkout, whether it is installed or not. Snakemake hands `sys.path` on to scripts,
# behind the packages of their environment, and conda environments do not see PYTHONPATH: the latter puts the checkout
# before an installed library, where there is one.
ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

from equinuclei.errors import InputError
from equinuclei.checksums import digest
from equinuclei.runtime.equivalent_code import RuleCode
from equinuclei.runtime.job import pass_on
from equinuclei.specs import OTSU
from equinuclei.tables.columns import COLUMNS_FILE
from equinuclei.config.study import Study

# SLURM's signal before the end of a job (`--signal` in the profile) reaches Snakemake alone where control groups keep
# track of processes. It is the training that answers it.
signal.signal(signal.SIGUSR1, pass_on)

SCHEMA = yaml.safe_load(Path(ROOT, "workflow/schemas/config.schema.yaml").read_text())

try:
    study = Study(config, SCHEMA)
    rule_code = RuleCode(ROOT)
except InputError as error:
    raise WorkflowError(str(error)) from None

RESULTS = study.results
RUN = f"{RESULTS}/{{dataset}}/models/{{model}}/{{modality}}/seed{{seed}}"
CHOICE = f"{RESULTS}/{{dataset}}/models/{{model}}/{{modality}}/learning_rate.json"
# The tables and figures of a data set, in the order of its page: names of the files, which are also those of their
# captions in workflow/report/, and their titles. Galleries are folders of figures.
TABLES = {
    "f1": "F1",
    "contrasts": "Contrasts",
    "f1_difference": "f1-score_difference",
    "difference_reduction": "Reduction of the f1-score_difference",
    "f1_difference_crops": "f1-score_difference of crops",
    "intervals": "Intervals of every model",
    "f1_by_cell_line": "F1 per cell line",
    "contrasts_by_cell_line": "Declared contrasts per cell line",
    "f1_by_threshold": "Scores against the IoU threshold",
}
FIGURES = {
    "contrasts": "Declared contrasts",
    "f1": "F1 of the models",
    "f1_difference": "f1-score_difference of whole images",
    "difference_reduction": "Reduction of the f1-score_difference",
    "f1_by_threshold": "F1 against the IoU threshold",
    "f1_by_cell_line": "F1 per cell line",
    "cost": "Cost against score",
    "training_curves": "Training",
}
GALLERIES = {
    "masks": "Images and masks",
    "contours": "Predictions beside image and truth",
    "rotations": "Sum over four rotations",
    "crops": "f1-score_difference of crops",
}
# What the options add, where they are on.
CURVE_TABLES = (
    {"learning_curve": "Learning curves", "learning_curve_contrasts": "Contrasts on equal groups"}
    if study.curve
    else {}
)
LEFT_OUT_TABLES = {"leave_one_cell_line_out": "Without one cell line"} if study.left_out else {}
SUBSET_FIGURES = {name: title for name, title in (CURVE_TABLES | LEFT_OUT_TABLES).items() if "contrasts" not in name}
ALL_TABLES = TABLES | CURVE_TABLES | LEFT_OUT_TABLES
ALL_FIGURES = FIGURES | SUBSET_FIGURES
ALL_RUNS = (*study.runs, *study.derived_runs)
SUBSETS = f"{RESULTS}/{{dataset}}/subsets.tsv"
PLATES = study.plates.results
PARTS = study.plates.section["parts"]
SEGMENTATION = f"{PLATES}/{{plate}}/{{plate_model}}/segmentation.ome.zarr"
SEGMENTATION_PART = f"{PLATES}/{{plate}}/{{plate_model}}/parts/{{part}}.ome.zarr"
OF_PART = "" if PARTS == 1 else "_{part}"
CODE_RULES = (
    "convert_dataset",
    "split_dataset",
    "binarize_masks",
    "predict_test",
    "score_test",
    "score_otsu",
    "aggregate_f1",
    *(("list_subsets",) if study.subsets else ()),
    *(("aggregate_learning_curve",) if study.curve else ()),
    *(("aggregate_left_out",) if study.left_out else ()),
)
GPUS = 1 if study.training["device"] == "cuda" else 0


wildcard_constraints:
    dataset="|".join(map(re.escape, study.datasets)),
    model="|".join(map(re.escape, study.trained)),
    modality="|".join(map(re.escape, study.modalities)),
    seed=r"\d+",
    plate=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    plate_model=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    part=r"\d+",


def told(function, *arguments):
    """What a function of the configuration returns; a user's mistake ends the parsing with one message."""
    try:
        return function(*arguments)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def code_of(rule_name):
    """Digest of the code behind a rule: what its script can reach."""
    return told(rule_code.of, rule_name)


def code_of_model(rule_name):
    """As `code_of`, with the architecture of the rule's model, and of no other model."""

    def code(wildcards):
        return told(rule_code.of, rule_name, study.trained[wildcards.model].spec.architecture)

    return code


def code_of_everything(wildcards):
    """Rule, architecture and digest of the code behind every rule that results of a study come from."""
    architectures = sorted({model.spec.architecture for model in study.models.values()})
    behind = [*((name, "") for name in CODE_RULES), *(("train_model", name) for name in architectures)]
    return [
        {"rule": name, "architecture": architecture, "digest": told(rule_code.of, name, architecture)}
        for name, architecture in behind
    ]


def gigabytes(first):
    """Memory in MB that doubles with every attempt."""

    def mem_mb(wildcards, attempt):
        return int(first * 1000 * 2 ** (attempt - 1))

    return mem_mb


def hours(first):
    """Time in minutes that doubles with every attempt."""

    def runtime(wildcards, attempt):
        return int(first * 60 * 2 ** (attempt - 1))

    return runtime


def dataset_setting(key):
    """A setting of the rule's data set."""

    def setting(wildcards):
        return study.datasets[wildcards.dataset].get(key)

    return setting


def source_of(wildcards):
    """Where and how the data set's images are stored."""
    return study.source(wildcards.dataset)


def source_folder(wildcards):
    """The folder of a simulated set, which a rule makes. A user's own files are watched by `source_state` instead."""
    return f"{RESULTS}/{wildcards.dataset}/source" if study.is_simulated(wildcards.dataset) else []


def source_state(wildcards):
    """Digest of the source files, so that a changed image is noticed without thousands of declared inputs."""
    return study.source_state(wildcards.dataset)


def dataset_folder(wildcards):
    """The results of the rule's data set."""
    return f"{RESULTS}/{wildcards.dataset}"


def plates_folder(wildcards):
    """The results of all plates, with their manifests and what failed."""
    return PLATES


def spec_of(wildcards):
    """The network of the rule's model, as plain values."""
    return study.trained[wildcards.model].spec.to_dict()


def training_of(wildcards):
    """The training settings of the rule's data set and model, as plain values."""
    return study.training_of(wildcards.dataset, wildcards.model)


def candidates_of(wildcards):
    """The learning rates that the one of the rule's data set and model is chosen from."""
    return study.candidates(wildcards.dataset, wildcards.model)


def tuning_of(wildcards):
    """The settings that each candidate of the rule's data set and model is trained with, as plain values."""
    return study.tuning_of(wildcards.dataset, wildcards.model)


def choice_of(wildcards):
    """The choice of the learning rate of the rule's data set, model and modality, where the study has candidates."""
    return CHOICE.format(**wildcards) if candidates_of(wildcards) else []


def inferences_of(wildcards):
    """The inference modes of the rule's model."""
    return study.inference_of(wildcards.model)


def instances_of(wildcards):
    """How predictions of the rule's model become nuclei, where the configuration says."""
    return study.trained[wildcards.model].instances


def table_output(name):
    """A table of a data set as an output, with its caption in Snakemake's report."""
    path = f"{RESULTS}/{{dataset}}/tables/{name}.tsv"
    return report(
        path,
        caption=f"../report/tables/{name}.rst",
        category="{dataset}",
        subcategory="Tables",
        labels={"table": ALL_TABLES[name]},
    )


def figure_output(name):
    """A figure of a data set as an output, with its caption in Snakemake's report."""
    path = f"{RESULTS}/{{dataset}}/figures/{name}.png"
    return report(
        path,
        caption=f"../report/figures/{name}.rst",
        category="{dataset}",
        subcategory="Figures",
        labels={"figure": ALL_FIGURES[name]},
    )


def gallery_output(name):
    """A folder of figures of a data set as an output; in Snakemake's report all of its figures have one caption."""
    folder = directory(f"{RESULTS}/{{dataset}}/figures/{name}")
    return report(
        folder,
        patterns=["{name}.png"],
        caption=f"../report/figures/{name}.rst",
        category="{dataset}",
        subcategory="Examples",
        labels={"figure": GALLERIES[name], "of": "{name}"},
    )


def captions(kind, titles):
    """Titles and captions of tables or figures, as plain values."""
    folder = Path(ROOT, "workflow/report", kind)
    return [[title, (folder / f"{name}.rst").read_text(encoding="utf-8")] for name, title in titles.items()]


def templates_digest():
    """Digest of what the page of a study is made with beside code: its templates, and the columns of all tables."""
    templates = ROOT / "equinuclei/pages/templates"
    files = [*(templates / name for name in ("page.css", "page.js", "study.html")), COLUMNS_FILE]
    return digest([path.read_text(encoding="utf-8") for path in files])


def about_of(wildcards):
    """Licence and citation of the rule's data set, where the configuration tells them."""
    return dict(study.datasets[wildcards.dataset].get("about", {}))


def subset_of(wildcards):
    """The subset of the training part that the rule's model learns from."""
    return dict(study.trained[wildcards.model].subset)


def run_file(run, name):
    """Path of one file of a training."""
    return f"{RESULTS}/{run.dataset}/models/{run.model}/{run.modality}/seed{run.seed}/{name}"


def of_every_run(name, runs=study.runs):
    """Paths of one file of every training of a data set: by default of the models of the study, not those derived."""

    def paths(wildcards):
        return [run_file(run, name) for run in runs if run.dataset == wildcards.dataset]

    return paths


def otsu_scores(wildcards):
    """Scores of Otsu's threshold in every modality of a data set."""
    modalities = study.datasets[wildcards.dataset]["modalities"]
    return [f"{RESULTS}/{wildcards.dataset}/{OTSU}/{modality}/scores.parquet" for modality in modalities]


def choices(wildcards):
    """The choice of a learning rate of every model that has candidates."""
    return [
        CHOICE.format(dataset=run.dataset, model=run.model, modality=run.modality)
        for run in ALL_RUNS
        if run.dataset == wildcards.dataset and run.seed == study.seeds[0] and study.candidates(run.dataset, run.model)
    ]


def resolved_config(wildcards):
    """The settings of the rule's data set with every default filled in."""
    return study.resolved(wildcards.dataset)


def get_study_output():
    """Everything that a study makes; also the weights, so that deleted ones are trained again."""
    outputs = [run_file(run, "weights.safetensors") for run in ALL_RUNS]
    for dataset in study.datasets:
        outputs += [f"{RESULTS}/{dataset}/tables/{name}.tsv" for name in ALL_TABLES]
        outputs += [f"{RESULTS}/{dataset}/figures/{name}.{suffix}" for name in ALL_FIGURES for suffix in ("png", "pdf")]
        outputs += [f"{RESULTS}/{dataset}/figures/{name}" for name in GALLERIES]
        outputs.append(f"{RESULTS}/{dataset}/tables/provenance.json")
        outputs.append(f"{RESULTS}/{dataset}/report.html")
        if study.subsets:
            outputs.append(SUBSETS.format(dataset=dataset))
    return outputs


def plates_settings(wildcards):
    """Digest of what decides how plates are processed."""
    return told(lambda: study.plates.digest)


def plate_channel(wildcards):
    """The channel that the nuclei of the rule's plate are seen in."""
    return told(study.plates.channel_of, wildcards.plate)


def plate_weights(wildcards):
    """Weights of the rule's plate. A name always means the same weights, so their age makes nothing stale."""
    return ancient(told(study.plates.weights_of, wildcards.plate))


def plate_part(wildcards):
    """Number of the rule's part of a plate, and how many parts there are."""
    return [int(wildcards.get("part", 0)), PARTS]


def plate_map(wildcards):
    """What is in the wells of the rule's plate, if there is a table of that."""
    return told(study.plates.plate_map_of, wildcards.plate) or []


def plate_truth(wildcards):
    """Folder with the true labels of the rule's plate, where they are known."""
    return told(study.plates.truth_of, wildcards.plate)


def get_plates_output(wildcards):
    """The page of every plate that is complete, did not fail as it is, and is not excluded."""
    return [
        f"{PLATES}/{plate}/{told(study.plates.model_of, plate)}/report.html" for plate in told(study.plates.waiting)
    ]


def finished_plates(wildcards):
    """The plates that have their page, as plain values."""
    return [
        {
            "name": plate,
            "model": model,
            "plate": f"{PLATES}/{plate}/plate.ome.zarr",
            "folder": f"{PLATES}/{plate}/{model}",
            "plate_map": told(study.plates.plate_map_of, plate) or None,
        }
        for plate in told(study.plates.waiting)
        for model in [told(study.plates.model_of, plate)]
        if Path(PLATES, plate, model, "report.html").is_file()
    ]


def finished_tables(wildcards):
    """Counts and measurements of every finished plate, per field and per well."""
    return [f"{plate['folder']}/{name}.tsv" for plate in finished_plates(wildcards) for name in ("fields", "wells")]


def finished_plate_maps(wildcards):
    """What is in the wells of the finished plates, where there is a table of that."""
    return [plate["plate_map"] for plate in finished_plates(wildcards) if plate["plate_map"]]


def get_overview_output(wildcards):
    """The comparison of the finished plates, once there is one."""
    return [f"{PLATES}/plates.html"] if finished_plates(wildcards) else []


def get_exported_models():
    """Every trained network of the study's models as a PyTorch program, as ONNX, and for the BioImage Model Zoo."""
    names = ("model.pt2", "model.onnx", "bioimage_model.zip")
    return [run_file(run, name) for run in study.runs for name in names]


def get_shipped_models():
    """What `promote_model.py` makes a model of the library from, and its package, for every training of the study."""
    names = ("weights.safetensors", "accuracy.md", "bioimage_model.zip")
    return [run_file(run, name) for run in study.runs for name in names]


def print_summaries():
    """Show the tables that a study ended with, and where the figures are."""
    targets = workflow.dag_settings.targets
    if targets and "study" not in targets:
        return
    for dataset in study.datasets:
        summary = Path(RESULTS, dataset, "tables", "summary.txt")
        if summary.is_file():
            print(f"\n{summary.read_text(encoding='utf-8')}")
            print(f"Tables:  {RESULTS}/{dataset}/tables/")
            print(f"Figures: {RESULTS}/{dataset}/figures/")
            print(f"Report:  {RESULTS}/{dataset}/report.html")
