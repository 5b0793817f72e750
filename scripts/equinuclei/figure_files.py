"""The figures of a study as files: from its tables, scores, histories and examples."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from equinuclei.examples import read_examples
from equinuclei.figures import contours, f1_bars, f1_difference_boxes, model_colours, save, training_curves
from equinuclei.provenance import read_record


def draw_figures(
    *,
    f1: str | Path,
    difference: str | Path,
    differences: str | Path,
    scores: Sequence[str | Path],
    histories: Sequence[str | Path],
    runs: Sequence[str | Path],
    examples: Sequence[str | Path],
    models: Sequence[str],
    f1_figure: str | Path,
    difference_figure: str | Path,
    curves_figure: str | Path,
    contours_folder: str | Path,
) -> None:
    """Draw all figures of a data set, each as PDF and PNG.

    `histories`, `runs` and `examples` are the files of the same trainings in the same order; `models` their names in
    the order of the figures. The PNG's path is given, the PDF stands beside it. `contours_folder` gets a figure of
    examples per modality and model, of its first seed.
    """
    colours = model_colours(models)
    records = [read_record(path) for path in runs]
    table = pd.concat([pd.read_parquet(path) for path in scores], ignore_index=True)
    _save(f1_bars(_read_tsv(f1), table, colours), f1_figure)
    _save(f1_difference_boxes(pd.read_parquet(differences), _read_tsv(difference)), difference_figure)
    names = ("model", "modality", "seed")
    curves = [
        pd.read_csv(path).assign(**{name: record[name] for name in names})
        for path, record in zip(histories, records, strict=True)
    ]
    _save(training_curves(pd.concat(curves, ignore_index=True), colours), curves_figure)
    Path(contours_folder).mkdir(parents=True, exist_ok=True)
    first_seed = min(record["seed"] for record in records)
    for path, record in zip(examples, records, strict=True):
        if record["seed"] == first_seed:
            figure = contours([example | {"title": _shortened(example["image_id"])} for example in read_examples(path)])
            save(figure, Path(contours_folder, f"{record['modality']}_{record['model']}"))


def _save(figure, png: str | Path) -> None:
    save(figure, Path(png).with_suffix(""))


def _shortened(name: str, length: int = 16) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _read_tsv(path: str | Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t")
