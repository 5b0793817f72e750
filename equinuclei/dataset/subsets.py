"""Subsets of the training part: a number of its groups, or all cell lines but one.

A subset is told by plain values: {"groups": 16}, or {"without": "HeLa"}; {} is the whole part. It is taken from the
rows of one modality of the training part, and knows of no other part.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.checksums import digest
from equinuclei.dataset.parts import part_fields
from equinuclei.errors import InputError
from equinuclei.tables.files import write_table


def subset_rows(rows: pd.DataFrame, subset: Mapping, seed: int) -> np.ndarray:
    """Which rows of the training part are in a subset: bool, a value per row; a group is in as a whole or not at all.

    A number of groups is a beginning of `dealt_groups`, so of two numbers the smaller subset lies within the larger.
    The other subsets do not depend on `seed`. Raises InputError if there are not more groups than that, or if there is
    no such cell line, or no other.
    """
    if not subset:
        return np.ones(len(rows), dtype=bool)
    if "without" in subset:
        return _without(rows, subset["without"])
    dealt = dealt_groups(rows, seed)
    if subset["groups"] >= len(dealt):
        raise InputError(
            f"learning_curve: {subset['groups']} groups are asked for, and the training part has {len(dealt)}; ask for "
            "fewer (the whole part is always the last point of the curve)"
        )
    return rows["group"].isin(dealt[: subset["groups"]]).to_numpy()


def dealt_groups(rows: pd.DataFrame, seed: int) -> list[str]:
    """All groups in an order of which every beginning is spread over the cell lines as evenly as whole groups allow.

    rows : columns group and cell_line. The k-th group (from 0) of a cell line with n of them stands at (2 k + 1) / 2 n,
    so that a beginning holds the same share of every cell line to rounding (the divisor method of Webster, or
    Sainte-Laguë). Within a cell line, and between cell lines at the same place, a digest of `seed` and the group's name
    decides: not the order of rows, nor which other groups there are.
    """
    groups = rows[["group", "cell_line"]].drop_duplicates("group")
    groups = groups.assign(drawn=[digest([seed, group]) for group in groups["group"]]).sort_values("drawn")
    of_line = groups.groupby("cell_line")["group"]
    number, count = of_line.cumcount(), of_line.transform("size")
    places = [Fraction(2 * int(k) + 1, 2 * int(n)) for k, n in zip(number, count, strict=True)]
    order = sorted(range(len(groups)), key=lambda place: (places[place], groups["drawn"].iloc[place]))
    return groups["group"].iloc[order].tolist()


def in_subset(subset: Mapping, seed: int) -> Callable[[pd.DataFrame], np.ndarray]:
    """`subset_rows` as a function of the rows alone: the argument `keep` of `parts.load_part`."""
    return partial(subset_rows, subset=subset, seed=seed)


def list_subsets(
    fields: str | Path,
    splits: str | Path,
    *,
    modalities: Sequence[str],
    subsets: Mapping[str, Mapping],
    seeds: Sequence[int],
    output: str | Path,
) -> None:
    """Write which groups are in which subset, as TSV.

    subsets : subset by name. Columns modality, subset, seed, cell_line, group, images (numbers of): a row per group.
    seed is empty where a subset does not depend on it. Raises InputError, naming the data set's table, if a subset
    cannot be made.
    """
    tables = []
    for modality in modalities:
        rows = part_fields(fields, splits, modality=modality, part="train")
        for name, subset in subsets.items():
            for seed in seeds if "groups" in subset else [""]:
                try:
                    chosen = rows[subset_rows(rows, subset, seed)]
                except InputError as error:
                    raise InputError(f"{fields}, {modality}: {error}") from error
                groups = chosen.groupby(["cell_line", "group"]).size().rename("images").reset_index()
                tables.append(groups.assign(modality=modality, subset=name, seed=seed))
    columns = ["modality", "subset", "seed", "cell_line", "group", "images"]
    write_table(pd.concat(tables)[columns], output)


def _without(rows: pd.DataFrame, line: str) -> np.ndarray:
    rest = (rows["cell_line"] != line).to_numpy()
    lines = ", ".join(sorted(set(rows["cell_line"])))
    if rest.all():
        raise InputError(
            f"leave_one_cell_line_out: the training part has no cell line {line!r}; its cell lines are {lines}: name "
            "some of them in `cell_lines`"
        )
    if not rest.any():
        raise InputError(f"leave_one_cell_line_out: {line!r} is the only cell line, and nothing is left without it")
    return rest
