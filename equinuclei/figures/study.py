"""The figures of a study as files: from its tables, scores, histories and examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from matplotlib.figure import Figure

from equinuclei.analysis.failures import failed_seeds
from equinuclei.analysis.folder import StudyFolder
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


@dataclass(frozen=True)
class Drawn:
    """What the figures of a data set are drawn from.

    study : with scores, histories, runs and examples. models : names in the order of the figures.
    """

    study: StudyFolder
    models: Sequence[str]

    @cached_property
    def colours(self) -> dict[str, str]:
        """A model's colour in all figures."""
        return model_colours(self.models)

    @cached_property
    def failed(self) -> dict[tuple[str, str], list[int]]:
        """The failed seeds by modality and model."""
        return failed_seeds(self.study.table("f1"))

    @cached_property
    def first_seed(self) -> int:
        """The seed that examples are of."""
        return min(record["seed"] for record in self.study.records)

    def training(self, modality: str, model: str) -> str:
        """The training that examples are of, for a title, and whether it failed."""
        failed = self.first_seed in self.failed.get((modality, model), [])
        told = ": a failed training, no evidence" if failed else ""
        return f"{model}, {modality}, as deployed, seed {self.first_seed}{told}"

    @cached_property
    def examples(self) -> dict[str, dict[str, list[dict]]]:
        """The examples of the first seed by modality, then model; the image's name is their title."""
        records = self.study.records
        found: dict[str, dict[str, list[dict]]] = {}
        for path, record in zip(self.study.examples, records, strict=True):
            if record["seed"] == self.first_seed:
                examples = [{**example, "title": _shortened(example["image_id"])} for example in read_examples(path)]
                found.setdefault(record["modality"], {})[record["model"]] = examples
        return found


FIGURES: dict[str, Callable[[Drawn], Figure]] = {
    "contrasts": lambda drawn: contrast_intervals(drawn.study.table("contrasts")),
    "f1": lambda drawn: f1_bars(drawn.study.table("f1"), drawn.study.all_scores, drawn.colours),
    "f1_difference": lambda drawn: f1_difference_boxes(
        drawn.study.differences("f1_differences"), drawn.study.table("f1_difference"), failed=drawn.failed
    ),
    "difference_reduction": lambda drawn: difference_reduction_bars(
        drawn.study.table("difference_reduction"), drawn.failed
    ),
    "f1_by_threshold": lambda drawn: f1_by_threshold_lines(
        drawn.study.table("f1_by_threshold"), drawn.colours, drawn.failed
    ),
    "f1_by_cell_line": lambda drawn: f1_by_cell_line_map(drawn.study.table("f1_by_cell_line"), drawn.failed),
    "cost": lambda drawn: cost_against_score(drawn.study.table("f1"), drawn.colours),
    "training_curves": lambda drawn: training_curves(drawn.study.history, drawn.colours),
}
"""Figures of a data set by the name of their file: how each is drawn."""


def _contours(drawn: Drawn) -> dict[str, Figure]:
    """Every model's predictions, per modality."""
    return {
        f"{modality}_{model}": contours(examples, drawn.training(modality, model))
        for modality, of_modality in drawn.examples.items()
        for model, examples in of_modality.items()
    }


def _masks(drawn: Drawn) -> dict[str, Figure]:
    """Images and masks per modality; a field that was seen in several is shown once, with all of its images."""
    of_any_model = {modality: next(iter(models.values())) for modality, models in drawn.examples.items()}
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


def _rotations(drawn: Drawn) -> dict[str, Figure]:
    """What all models make of the first example, per modality."""
    return {
        modality: rotations(
            next(iter(models.values()))[0],
            {model: found[0] for model, found in models.items()},
            f"{modality}, as deployed, seed {drawn.first_seed}",
        )
        for modality, models in drawn.examples.items()
    }


def _crops(drawn: Drawn) -> dict[str, Figure]:
    """The f1-score_difference of crops, where images are large enough to have them."""
    summary = drawn.study.table("f1_difference_crops")
    if summary.empty:
        return {}
    differences = drawn.study.differences("f1_differences_crops")
    return {"f1_difference": f1_difference_boxes(differences, summary, "crop", drawn.failed)}


GALLERIES: dict[str, Callable[[Drawn], Mapping[str, Figure]]] = {
    "crops": _crops,
    "masks": _masks,
    "contours": _contours,
    "rotations": _rotations,
}
"""Folders of figures by name: what each holds, by the names of the files."""


def draw_figures(
    study: StudyFolder, models: Sequence[str], *, figures: Sequence[str | Path], galleries: Sequence[str | Path]
) -> None:
    """Draw figures of a data set, each as PDF and PNG.

    study, models : see `Drawn`. figures : the PNG to make, named as in FIGURES; the PDF stands beside it. galleries :
    the folders to make, named as in GALLERIES.
    """
    drawn = Drawn(study, models)
    for path in map(Path, figures):
        save(FIGURES[path.stem](drawn), path.with_suffix(""))
    for folder in map(Path, galleries):
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in GALLERIES[folder.name](drawn).items():
            save(figure, folder / name)


def _shortened(name: str, length: int = 16) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
