"""The figures of a study, drawn from its files."""

import numpy as np
import pandas as pd

from equinuclei.analysis.contrasts import image_values
from equinuclei.analysis.folder import StudyFolder
from equinuclei.analysis.statistics import f1_by_cell_line, f1_table
from equinuclei.analysis.subsets import left_out_table
from equinuclei.figures.study import FIGURES, Drawn
from equinuclei.figures.subsets import draw_left_out
from equinuclei.tables.files import write_table
from support.contrasts import study
from support.scores import cost, score

NAMES = ["None", "NA", "nan", "1e5", "007"]


def test_cell_lines_and_models_are_names_whatever_they_look_like(tmp_path):
    random = np.random.default_rng(0)
    scores = pd.DataFrame(
        [
            score(model, 0, f"i{number}", random.integers(1, 50, 3).tolist(), line=line)
            for model in ("NA", "007", "otsu")
            for number, line in enumerate(NAMES)
        ]
    )
    costs = pd.DataFrame([cost(model, 0, 1.0) for model in ("NA", "007")])
    folder = StudyFolder(tables=tmp_path)
    write_table(f1_by_cell_line(scores, costs), folder.table_file("f1_by_cell_line"))
    write_table(f1_table(scores, costs), folder.table_file("f1"))
    drawn = Drawn(folder, ["NA", "007"])
    axes = FIGURES["f1_by_cell_line"](drawn).axes[0]
    assert sorted(label.get_text() for label in axes.get_xticklabels()) == sorted(NAMES)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["NA", "007", "otsu"]
    labels = [text.get_text() for text in FIGURES["cost"](drawn).legends[0].get_texts()]
    assert {label.split(" (")[0] for label in labels} >= {"NA", "007"}


def test_a_cell_line_called_none_is_drawn_where_it_was_left_out(tmp_path, monkeypatch):
    points = [{"name": "net_without", "model": "net", "subset": "without", "without": "None"}]
    points.append({"name": "net", "model": "net", "subset": "all"})

    def counts(model, seed, image, rotation):
        return 90 - image % 3, 5, 5

    values = image_values(study(counts, models=("net", "net_without"), lines=("None", "A549"), rotations=(0, 90)))
    write_table(left_out_table(values, points, []), tmp_path / "left_out.tsv")
    shown = []
    monkeypatch.setattr("equinuclei.figures.subsets.save", lambda figure, path: shown.append(figure))
    draw_left_out(tmp_path / "left_out.tsv", models=["net"], figure=tmp_path / "left_out.png")
    assert [label.get_text() for label in shown[0].axes[0].get_yticklabels()] == ["None"]
