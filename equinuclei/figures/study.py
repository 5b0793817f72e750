"""The figures of a study as files: from its tables, scores, histories and examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from equinuclei.evaluation.examples import read_examples
from equinuclei.figures.comparisons import (
    contrast_intervals,
    cost_against_score,
    difference_reduction_bars,
    f1_by_cell_line_map,
    f1_by_threshold_lines,
)
from equinuclei.figures.images import contours, masks, rotations
from equinuclei.figures.scores import f1_bars, f1_difference_boxes, training_curves
from equinuclei.figures.style import model_colours, save
from equinuclei.runtime.provenance import read_run


@dataclass(frozen=True)
class StudyFiles:
    """Where the results of a data set lie.

    tables: its folder of tables. scores: scores.parquet of every training and of Otsu's threshold. histories, runs and
    examples: files of the same trainings in the same order. models: names in the order of the figures.
    """

    tables: Path
    scores: Sequence[str | Path]
    histories: Sequence[str | Path]
    runs: Sequence[str | Path]
    examples: Sequence[str | Path]
    models: Sequence[str]

    def table(self, name: str) -> pd.DataFrame:
        """A table by its name."""
        return pd.read_csv(self.tables / f"{name}.tsv", sep="\t")

    def differences(self, name: str) -> pd.DataFrame:
        """A table of single differences by its name."""
        return pd.read_parquet(self.tables / f"{name}.parquet")

    @cached_property
    def colours(self) -> dict[str, str]:
        """A model's colour in all figures."""
        return model_colours(self.models)

    @cached_property
    def records(self) -> list[dict]:
        """run.json of every training."""
        return [read_run(path) for path in self.runs]

    @cached_property
    def all_scores(self) -> pd.DataFrame:
        """The scores of all trainings and of Otsu's threshold."""
        return pd.concat([pd.read_parquet(path) for path in self.scores], ignore_index=True)

    @cached_property
    def history(self) -> pd.DataFrame:
        """The histories of all trainings, with model, modality and seed."""
        names = ("model", "modality", "seed")
        return pd.concat(
            [
                pd.read_csv(path).assign(**{name: record[name] for name in names})
                for path, record in zip(self.histories, self.records, strict=True)
            ],
            ignore_index=True,
        )

    @cached_property
    def shown(self) -> dict[str, dict[str, list[dict]]]:
        """The examples of the first seed by modality, then model; the image's name is their title."""
        first = min(record["seed"] for record in self.records)
        found: dict[str, dict[str, list[dict]]] = {}
        for path, record in zip(self.examples, self.records, strict=True):
            if record["seed"] == first:
                examples = [{**example, "title": _shortened(example["image_id"])} for example in read_examples(path)]
                found.setdefault(record["modality"], {})[record["model"]] = examples
        return found


FIGURES: dict[str, Callable[[StudyFiles], Figure]] = {
    "contrasts": lambda study: contrast_intervals(study.table("contrasts")),
    "f1": lambda study: f1_bars(study.table("f1"), study.all_scores, study.colours),
    "f1_difference": lambda study: f1_difference_boxes(
        study.differences("f1_differences"), study.table("f1_difference")
    ),
    "difference_reduction": lambda study: difference_reduction_bars(study.table("difference_reduction")),
    "f1_by_threshold": lambda study: f1_by_threshold_lines(study.table("f1_by_threshold"), study.colours),
    "f1_by_cell_line": lambda study: f1_by_cell_line_map(study.table("f1_by_cell_line")),
    "cost": lambda study: cost_against_score(study.table("f1"), study.colours),
    "training_curves": lambda study: training_curves(study.history, study.colours),
}
"""Figures of a data set by the name of their file: how each is drawn."""


def _contours(study: StudyFiles) -> dict[str, Figure]:
    """Every model's predictions, per modality."""
    return {
        f"{modality}_{model}": contours(examples)
        for modality, of_modality in study.shown.items()
        for model, examples in of_modality.items()
    }


def _masks(study: StudyFiles) -> dict[str, Figure]:
    """Images and masks per modality; a field that was seen in several is shown once, with all of its images."""
    of_any_model = {modality: next(iter(models.values())) for modality, models in study.shown.items()}
    fields: dict[tuple, dict[str, list[dict]]] = {}
    for modality, examples in of_any_model.items():
        fields.setdefault(tuple((e["image_id"], e["classes"].tobytes()) for e in examples), {})[modality] = examples
    return {
        "_".join(of_fields): masks(
            [
                {**example, "images": {modality: of_fields[modality][number]["image"] for modality in of_fields}}
                for number, example in enumerate(next(iter(of_fields.values())))
            ]
        )
        for of_fields in fields.values()
    }


def _rotations(study: StudyFiles) -> dict[str, Figure]:
    """What all models make of the first example, per modality."""
    return {
        modality: rotations(next(iter(models.values()))[0], {model: found[0] for model, found in models.items()})
        for modality, models in study.shown.items()
    }


def _crops(study: StudyFiles) -> dict[str, Figure]:
    """The f1-score_difference of crops, where images are large enough to have them."""
    summary = study.table("f1_difference_crops")
    if summary.empty:
        return {}
    return {"f1_difference": f1_difference_boxes(study.differences("f1_differences_crops"), summary, "crop")}


GALLERIES: dict[str, Callable[[StudyFiles], Mapping[str, Figure]]] = {
    "crops": _crops,
    "masks": _masks,
    "contours": _contours,
    "rotations": _rotations,
}
"""Folders of figures by name: what each holds, by the names of the files."""


def draw_figures(study: StudyFiles, *, figures: Sequence[str | Path], galleries: Sequence[str | Path]) -> None:
    """Draw figures of a data set, each as PDF and PNG.

    figures : the PNG to make, named as in FIGURES; the PDF stands beside it. galleries : the folders to make, named as
    in GALLERIES.
    """
    for path in map(Path, figures):
        save(FIGURES[path.stem](study), path.with_suffix(""))
    for folder in map(Path, galleries):
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in GALLERIES[folder.name](study).items():
            save(figure, folder / name)


def _shortened(name: str, length: int = 16) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
