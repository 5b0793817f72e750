# What all rules share: the checked configuration, paths, digests of code, and resources that grow with the attempt.

import atexit
import os
import signal
import sys
from functools import partial
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from equinuclei.runtime.checkout import put_first

put_first(ROOT)

from equinuclei.errors import InputError, StoppedError
from equinuclei.checksums import digest
from equinuclei.runtime.controller import announce
from equinuclei.runtime.equivalent_code import RuleCode
from equinuclei.runtime.job import pass_on
from equinuclei.runtime.owners import carry_start
from equinuclei.runtime.patience import stand_first
from equinuclei.specs import OTSU
from equinuclei.tables.columns import COLUMNS_FILE
from equinuclei.config.study import Study

# SLURM's signal before the end of a job (`--signal` in the profile) reaches Snakemake alone where control groups keep
# track of processes. It is the training that answers it.
signal.signal(signal.SIGUSR1, pass_on)

# The SLURM job that this process runs in. Its executor takes SLURM's variables away.
SLURM_JOB = os.environ.get("SLURM_JOB_ID")
carry_start()
presences = []
warned = []

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
MOVES = {"turns_and_shifts": "Between the quarter turns, and shifted"} if study.evaluation["turns_and_shifts"] else {}
SUBSET_FIGURES = {name: title for name, title in (CURVE_TABLES | LEFT_OUT_TABLES).items() if "contrasts" not in name}
ALL_TABLES = TABLES | MOVES | CURVE_TABLES | LEFT_OUT_TABLES
ALL_FIGURES = FIGURES | MOVES | SUBSET_FIGURES
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
    *(("score_moves", "score_otsu_moves", "aggregate_moves") if MOVES else ()),
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


def or_end_parsing(function, *arguments):
    """The result of a function of the configuration; a mistake in it ends the parsing of the workflow with one message."""
    try:
        return function(*arguments)
    except (InputError, StoppedError) as error:
        raise WorkflowError(str(error)) from None


def name_parameters(of):
    """Give a rule one parameter more that tells which of its values belongs to which name.

    Snakemake compares the values as a set: of two that are exchanged, or one more that is True as another is, it sees
    nothing. The digest of the code is a value like no other.
    """
    given = {name: value for name, value in of.params.items() if name != "code"}
    if len(given) > 1:
        of.set_params(
            named=lambda wildcards: digest(
                [[name, repr(value(wildcards) if callable(value) else value)] for name, value in given.items()]
            )
        )


def code_of(rule_name):
    """Digest of the code behind a rule: what its script can reach.

    Taken while the workflow is parsed, so that a file that is not Python ends it with one message. A job on a cluster,
    which parses the workflow anew, needs no digest but that of its own rule.
    """

    def code(wildcards):
        return or_end_parsing(rule_code.of, rule_name)

    return code(None) if workflow.is_main_process else code


def code_of_model(rule_name):
    """As `code_of`, with the architecture of the rule's model, and of no other model."""

    def code(wildcards):
        return or_end_parsing(rule_code.of, rule_name, study.trained[wildcards.model].spec.architecture)

    return code


def code_of_everything(wildcards):
    """Rule, architecture and digest of the code behind every rule that results of a study come from."""
    architectures = sorted({model.spec.architecture for model in study.models.values()})
    behind = [*((name, "") for name in CODE_RULES), *(("train_model", name) for name in architectures)]
    return [
        {"rule": name, "architecture": architecture, "digest": or_end_parsing(rule_code.of, name, architecture)}
        for name, architecture in behind
    ]


def gigabytes(first):
    """Memory in MB that doubles with every attempt, up to `max_mem_mb` of the profile."""

    def mem_mb(wildcards, attempt, rulename):
        return growing(first * 1000, "mem_mb", attempt, rulename)

    return mem_mb


def hours(first, of_group=None):
    """Time in minutes that doubles with every attempt, up to `max_runtime` of the profile.

    of_group : hours of all jobs that run one after another in a job of SLURM, and share its longest time
    """

    def runtime(wildcards, attempt, rulename):
        return growing(first * 60, "runtime", attempt, rulename, share=first / (of_group or first))

    return runtime


def growing(first, name, attempt, rulename, share=1):
    """A resource that doubles with every attempt, up to the share of the most that the profile says is to be had."""
    most = workflow.get_rule(rulename).resources.get(f"max_{name}").value
    if most is None:
        return int(first * 2 ** (attempt - 1))
    if first > most * share:
        raise WorkflowError(
            f"{rulename} asks for {name}={int(first / share)} at first, more than max_{name}={most} of the profile: "
            f"raise that, or say what it is to have, `{rulename}: {name}: {int(most * share)}` in set-resources"
        )
    return int(min(first * 2 ** (attempt - 1), most * share))


def begin_control():
    """Leave the record of this process, the controller of its folder, and let it bear with a SLURM that is away."""
    for job in workflow.dag.needrun_jobs():
        job.resources  # a request beyond the profile's limits is told before anything runs
    try:
        outputs = [str(path) for path in workflow.persistence.all_outputfiles()]
        presence = announce(Path.cwd(), outputs, SLURM_JOB)
    except (StoppedError, OSError) as error:
        raise WorkflowError(str(error)) from None
    presences.append(presence)
    stand_first(presence.controller)


def end_control():
    """Remove that record."""
    while presences:
        presences.pop().end()


def run_file(run, name):
    """Path of one file of a training."""
    return f"{RESULTS}/{run.dataset}/models/{run.model}/{run.modality}/seed{run.seed}/{name}"


def of_every_run(name, runs=study.runs):
    """Paths of one file of every training of a data set: by default of the models of the study, not those derived."""

    def paths(wildcards):
        return [run_file(run, name) for run in runs if run.dataset == wildcards.dataset]

    return paths
