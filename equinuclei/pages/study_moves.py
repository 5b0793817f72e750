"""What turns between the quarter turns, and shifts, do to the scores of a study, in words."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from equinuclei.analysis.statistics import LEVELS
from equinuclei.specs import OTSU

_WHAT = dict(zip(LEVELS, ("pixels", "objects"), strict=True))
_QUARTER = 90
_SHOWN = (("turn", 45), ("turn", _QUARTER), ("shift", 1), ("shift", 16))
"""The moves that stand in the small table; the others are in the figure and the file."""


def moved_answer(table: pd.DataFrame | None, modality: str) -> dict[str, Any] | None:
    """The answer of one modality: told, sentences; heads and rows, a small table. None where nothing was moved.

    table : of `equinuclei.analysis.moves.moves_table`, or None if the study has none.
    """
    if table is None:
        return None
    here = table[table["modality"] == modality]
    turned, shifted = (here[here["move"] == kind] for kind in ("turn", "shift"))
    told = [_turns(turned[turned["amount"] != _QUARTER])]
    told += [_against_twin(of_model) for _, of_model in turned.groupby("model", sort=False) if of_model["twin"].any()]
    told += _shifts(shifted)
    told.append(
        "These comparisons are exploratory. An interval is over groups of images, and seeds where there are some."
    )
    moves = [move for move in _SHOWN if (here[["move", "amount"]] == move).all(axis=1).any()]
    words = {"turn": "turned by {}\N{DEGREE SIGN}", "shift": "shifted by {} px"}
    return {
        "told": told,
        "heads": [f"{words[kind].format(amount)}: {what}" for kind, amount in moves for what in _WHAT.values()],
        "rows": [
            {"name": model, "cells": [_cell(of_model, *move, level) for move in moves for level in LEVELS]}
            for model, of_model in here.groupby("model", sort=False)
        ],
    }


def _turns(between: pd.DataFrame) -> str:
    """How much F1 changes between the quarter turns, and how much of that is interpolation."""
    angles = _listed(sorted(set(between["amount"])))
    nets, floor = between[between["model"] != OTSU], between[between["model"] == OTSU]
    return (
        f"Turned by {angles} degrees, F1 changes on average {_ranges(nets)}. The image had to be interpolated: that "
        f"alone changes Otsu's threshold, which sees no orientation, {_ranges(floor)}."
    )


def _against_twin(turned: pd.DataFrame) -> str:
    """Where a model is steadier than its plain twin: at the quarter turn, and between."""
    row = turned.iloc[0]
    quarter, between = turned[turned["amount"] == _QUARTER], turned[turned["amount"] != _QUARTER]
    if turned["twin_low"].isna().all():
        return (
            f"{row['model']} cannot be compared with its plain twin {row['twin']}: too few groups or sound trainings."
        )
    at = " and ".join(f"{_verdict(level)} by {_WHAT[level['level']]}" for level in quarter.to_dict("records"))
    steadier, less = (between["twin_high"] < 0).sum(), (between["twin_low"] > 0).sum()
    return (
        f"{row['model']} beside its plain twin {row['twin']}, at the quarter turn: {at}. In between, of {len(between)} "
        f"comparisons (angles, by pixels and by objects): steadier in {steadier}, less steady in {less}, no difference "
        f"seen in {len(between) - steadier - less}."
    )


def _shifts(shifted: pd.DataFrame) -> list[str]:
    """How much F1 changes where a nucleus lies elsewhere."""
    if shifted.empty:
        return ["No image is large enough to be shifted."]
    nets = shifted[shifted["model"] != OTSU]
    by_one, at_grid = nets[nets["amount"] == 1], nets[nets["amount"].isin([16, 32])]
    told = f"Shifted by 1 pixel, which interpolates nothing, F1 changes on average {_ranges(by_one)}"
    if len(at_grid):
        grid = _listed(sorted(set(at_grid["amount"])))
        told += f"; shifted by {grid}, where a network that pools over so many sees the same, {_ranges(at_grid)}"
    sentences = [f"{told}. A method that does not see where a nucleus lies, as Otsu's threshold, has 0."]
    if few := int(shifted["too_small"].max()):
        largest = shifted["amount"].max()
        sentences.append(f"{few} images are too small to be shifted by {largest} pixels, and are left out there.")
    return sentences


def _ranges(rows: pd.DataFrame) -> str:
    """The smallest and the largest mean absolute difference by pixels and by objects."""
    parts = []
    for level, what in _WHAT.items():
        values = rows.loc[rows["level"] == level, "mean_absolute"].dropna()
        if values.empty:
            continue
        low, high = (f"{value:.4f}" if value else "0" for value in (values.min(), values.max()))
        parts.append(f"by {low if low == high else f'{low} to {high}'} ({what})")
    return " and ".join(parts) if parts else "by nothing that can be said"


def _verdict(row: dict[Any, Any]) -> str:
    if row["twin_high"] < 0:
        return "steadier"
    return "less steady" if row["twin_low"] > 0 else "no difference seen"


def _cell(of_model: pd.DataFrame, kind: str, amount: int, level: str) -> dict[str, Any]:
    found = of_model[(of_model[["move", "amount", "level"]] == (kind, amount, level)).all(axis=1)]["mean_absolute"]
    if found.empty or pd.isna(found.iloc[0]):
        return {"text": "-", "value": ""}
    return {"text": f"{found.iloc[0]:.4f}" if found.iloc[0] else "0", "value": float(found.iloc[0])}


def _listed(numbers: Sequence[int]) -> str:
    *others, last = (str(number) for number in numbers)
    return f"{', '.join(others)} and {last}" if others else last
