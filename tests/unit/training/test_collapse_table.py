"""The table of the benchmark of trainings that collapse."""

import pandas as pd

from benchmarks.collapse import collapse_table


def row(model, subset, F1, first="", last=""):
    shared = {"subset": subset, "images": 24, "learning_rate": 0.002, "steps": 72, "crop": 96}
    return {"model": model, **shared, "F1": F1, "first_collapsed": first, "collapsed": last}


def test_collapses_are_counted_where_the_plain_twin_learnt():
    nothing = "finds nothing"
    rows = [row("simplified", 0, 0.9), row("simplified", 1, 0.8), row("simplified", 2, 0.1)]
    rows += [
        row("simplified-p4", 0, 0.7, first=nothing), row("simplified-p4", 1, 0.0, nothing, nothing),
        row("simplified-p4", 2, 0.0, nothing, nothing), row("simplified-p4m", 0, 0.6),
    ]  # fmt: skip
    table = collapse_table(pd.DataFrame(rows)).set_index("model")
    columns = ["trials", "collapsed_first", "collapsed"]
    assert table.loc["simplified", columns].tolist() == [2, 0, 0]
    assert table.loc["simplified-p4", columns].tolist() == [2, 2, 1]
    assert table.loc["simplified-p4m", columns].tolist() == [1, 0, 0]
    assert table.loc["simplified-p4", "F1"] == 0.35 and table.loc["simplified-p4m", "F1_first"] == 0.6
