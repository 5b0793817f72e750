"""Subsets of the training part: some of its groups, or all cell lines but one.

A subset is described by plain values: {"groups": 16} or {"without": "HeLa"}; {} is the whole part. It is taken from the
rows of one modality of the training part and does not depend on other parts.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.checksums import digest
from equinuclei.dataset.parts import ChooseRows, part_fields
from equinuclei.errors import InputError
from equinuclei.tables.files import write_table


def subset_rows(rows: pd.DataFrame, subset: Mapping, seed: int) -> np.ndarray:
    """Which rows of the training part belong to a subset: bool, one value per row. Groups stay whole.

    {"groups": n} consists of the first n of `dealt_groups`, so smaller subsets lie within larger ones. Other subsets do
    not depend on `seed`. Raises InputError if there are not more than n groups, if the cell line does not exist, or if
    it is the only one.
    """
    if not subset:
        return np.ones(len(rows), dtype=bool)
    if "without" in subset:
        return _without(rows, subset["without"])
    dealt = dealt_groups(rows, seed)
    if subset["groups"] >= len(dealt):
        raise InputError(
            f"learning_curve: {subset['groups']} groups were requested, but the training part has only {len(dealt)}; "
            "request fewer (the whole part is always the last point of the curve)"
        )
    return rows["group"].isin(dealt[: subset["groups"]]).to_numpy()


def dealt_groups(rows: pd.DataFrame, seed: int) -> list[str]:
    """All groups, in an order whose first n groups represent the cell lines as evenly as possible for every n.

    rows : columns group and cell_line. The k-th of a cell line's n groups (k from 0) is placed at (2 k + 1) / 2 n, so
    that the first groups hold the same share of every cell line, up to rounding (the divisor method of Webster, also
    called Sainte-Laguë). Within a cell line, and between cell lines with equal places, the order is by a digest of
    `seed` and the group's name: it depends neither on the order of rows nor on which other groups exist.
    """
    groups = rows[["group", "cell_line"]].drop_duplicates("group")
    groups = groups.assign(drawn=[digest([seed, group]) for group in groups["group"]]).sort_values("drawn")
    of_line = groups.groupby("cell_line")["group"]
    number, count = of_line.cumcount(), of_line.transform("size")
    places = [Fraction(2 * int(k) + 1, 2 * int(n)) for k, n in zip(number, count, strict=True)]
    order = sorted(range(len(groups)), key=lambda row: (places[row], groups["drawn"].iloc[row]))
    return groups["group"].iloc[order].tolist()


def in_subset(subset: Mapping, seed: int) -> ChooseRows:
    """`subset_rows` as a function of the rows alone, for the argument `keep` of `parts.load_part`."""
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
    """Write a TSV that lists the groups of every subset.

    subsets : subset by name. The columns are modality, subset, seed, cell_line, group and images (the number of them),
    with a row per group; seed is empty for a subset that does not depend on it. Raises InputError, naming the table, if
    a subset is impossible.
    """
    tables = []
    for modality in modalities:
        rows = part_fields(fields, splits, modality=modality, part="train")
        for name, subset in subsets.items():
            depends_on_seed = "groups" in subset
            for seed in seeds if depends_on_seed else [0]:
                try:
                    chosen = rows[subset_rows(rows, subset, seed)]
                except InputError as error:
                    raise InputError(f"{fields}, {modality}: {error}") from error
                groups = chosen.groupby(["cell_line", "group"]).size().rename("images").reset_index()
                tables.append(groups.assign(modality=modality, subset=name, seed=seed if depends_on_seed else ""))
    columns = ["modality", "subset", "seed", "cell_line", "group", "images"]
    write_table(pd.concat(tables)[columns], output)


def _without(rows: pd.DataFrame, line: str) -> np.ndarray:
    rest = (rows["cell_line"] != line).to_numpy()
    lines = ", ".join(sorted(set(rows["cell_line"])))
    if rest.all():
        raise InputError(
            f"leave_one_cell_line_out: the training part has no cell line {line!r}; its cell lines are {lines}: choose "
            "from these in `cell_lines`"
        )
    if not rest.any():
        raise InputError(f"leave_one_cell_line_out: {line!r} is the only cell line: nothing is left without it")
    return rest
