"""Splitting into train, val and test: deterministic, stratified by cell line, with whole groups."""

import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.checksums import sha256
from equinuclei.dataset.parts import PARTS
from equinuclei.errors import InputError, raise_problems
from equinuclei.runtime.files import replacing
from equinuclei.tables.files import write_table


def split_dataset(fields: pd.DataFrame, sizes: Sequence[int] | Sequence[float], seed: int) -> pd.DataFrame:
    """Assign every image_id to train, val or test.

    If `fields` names a split for every image, it is used, and `sizes` and `seed` are ignored. Otherwise every cell line
    gets its share of every part by largest remainders, such that the sums over parts and over cell lines are right. Its
    groups are then dealt out at random: the probability that a group goes to a part is proportional to the number of
    images the part still needs, among the parts with which the sizes can still be met. The draws of a cell line depend
    on `seed`, its name and its own groups alone, not on the order of rows.

    Parameters
    ----------
    fields
        Columns image_id, cell_line, group, split; others are ignored. Rows of one image_id (its modalities) must agree.
    sizes
        Of train, val and test: either numbers of image_ids, which are met exactly, overall and in every cell line; or
        fractions that sum to 1, which are met as closely as whole groups allow.
    seed
        Not negative.

    Returns
    -------
    pandas.DataFrame
        Columns image_id, cell_line, group, part; one row per image_id, sorted.

    Raises
    ------
    InputError
        If rows of one image_id disagree, a group has two cell lines or two splits, a split is unknown or given for
        some images only, the sizes have the wrong sum, a group is larger than every part, numbers cannot be met with
        whole groups, or a part with a size above 0 would be empty.
    """
    table = _one_row_per_id(fields)
    if (table["split"] != "").any():
        table["part"] = table["split"]
    else:
        lines = dict(tuple(table.groupby("cell_line")))
        exact = all(isinstance(size, int | np.integer) for size in sizes)
        totals = _totals(sizes, len(table), exact)
        quotas = _quotas([len(rows) for rows in lines.values()], totals)
        parts = {
            group: part
            for (line, rows), quota in zip(lines.items(), quotas, strict=True)
            for group, part in _deal(line, rows["group"].value_counts().to_dict(), quota, exact, seed).items()
        }
        table["part"] = table["group"].map(parts)
        counts = table["part"].value_counts()
        empty = [part for part, size in zip(PARTS, sizes, strict=True) if size > 0 and not counts.get(part, 0)]
        if empty:
            raise InputError(
                f"sizes {list(sizes)}: of {len(table)} images in {table['group'].nunique()} groups, none would be in "
                f"{' and '.join(empty)}: give a larger size, or 0."
            )
    return table[["image_id", "cell_line", "group", "part"]]


def write_splits(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table of `split_dataset` as TSV, and beside it `<path>.sha256` for `sha256sum --check`."""
    path = Path(path)
    write_table(table, path)
    with replacing(path.with_name(path.name + ".sha256")) as temporary:
        temporary.write_text(f"{sha256(path)}  {path.name}\n", encoding="utf-8")


def _one_row_per_id(fields: pd.DataFrame) -> pd.DataFrame:
    table = fields[["image_id", "cell_line", "group", "split"]].drop_duplicates()
    problems = []
    for column in ("cell_line", "group", "split"):
        values = table.groupby("image_id")[column].unique()
        problems += [
            f"image_id {image_id!r} has {column} {' and '.join(map(repr, several))} in its modalities"
            for image_id, several in values[values.str.len() > 1].items()
        ]
    for column, remedy in (
        ("cell_line", "a split within cell lines would divide it; rename the group in one of them"),
        ("split", "assign all of it to one"),
    ):
        values = table.groupby("group")[column].unique()
        problems += [
            f"group {group!r} has {column} {' and '.join(map(repr, several))}: {remedy}"
            for group, several in values[values.str.len() > 1].items()
        ]
    given = table["split"] != ""
    if given.any() and not given.all():
        problems.append(f"split is given for {given.sum()} of {len(table)} images: give it for all or none")
    problems += [
        f"split {value!r} is not one of {', '.join(PARTS)}" for value in sorted(set(table["split"]) - {*PARTS, ""})
    ]
    raise_problems("split", problems)
    if table.empty:
        raise InputError("split: there are no images.")
    return table.sort_values("image_id", ignore_index=True)


def _totals(sizes: Sequence[int] | Sequence[float], count: int, exact: bool) -> list[int]:
    """Images of each part in the whole data set."""
    if len(sizes) != len(PARTS) or any(size < 0 for size in sizes):
        raise InputError(f"sizes {list(sizes)}: give three numbers of 0 or more, for train, val and test.")
    if exact:
        if sum(sizes) != count:
            raise InputError(
                f"sizes {' + '.join(map(str, sizes))} = {sum(sizes)}, but the data set has {count} images: "
                "give numbers with that sum, or fractions that sum to 1."
            )
        return [int(size) for size in sizes]
    if abs(sum(sizes) - 1) > 1e-6:
        raise InputError(f"sizes {list(sizes)} sum to {sum(sizes):g}: fractions must sum to 1.")
    # Exact fractions, so that 0.1 of 10 is 1 and ties do not depend on rounding.
    shares = [Fraction(size).limit_denominator(10**6) for size in sizes]
    ideal = [share * count / sum(shares) for share in shares]
    totals = [int(number) for number in ideal]
    by_remainder = sorted(range(len(PARTS)), key=lambda part: (totals[part] - ideal[part], part))
    for part in by_remainder[: count - sum(totals)]:
        totals[part] += 1
    return totals


def _quotas(line_sizes: Sequence[int], totals: Sequence[int]) -> list[tuple[int, ...]]:
    """Numbers of images of each cell line (rows) in each part (columns), for given sums of rows and columns.

    Every number is the ideal `line * total / count`, rounded down or up. Of all such tables, dynamic programming over
    the cell lines finds one with the largest sum of remainders that are rounded up (ties: earlier parts are rounded up
    first). Such a table always exists (controlled rounding: Cox, J. Am. Stat. Assoc. 82, 520-524, 1987).
    """
    count = sum(totals)
    floors = [[size * total // count for total in totals] for size in line_sizes]
    remainders = [[size * total % count for total in totals] for size in line_sizes]
    lacking = tuple(total - sum(column) for total, column in zip(totals, zip(*floors, strict=True), strict=True))
    # Images that the parts still need -> (sum of remainders rounded up, parts rounded up in each line so far).
    best: dict[tuple[int, ...], tuple[int, tuple[tuple[int, ...], ...]]] = {lacking: (0, ())}
    ups = [(a, b, c) for a in (1, 0) for b in (1, 0) for c in (1, 0)]
    for size, floor, remainder in zip(line_sizes, floors, remainders, strict=True):
        following: dict[tuple[int, ...], tuple[int, tuple[tuple[int, ...], ...]]] = {}
        for left, (score, chosen) in best.items():
            for up in ups:
                if sum(up) != size - sum(floor) or any(u and not r for u, r in zip(up, remainder, strict=True)):
                    continue
                state = tuple(n - u for n, u in zip(left, up, strict=True))
                total = score + sum(u * r for u, r in zip(up, remainder, strict=True))
                if min(state) >= 0 and (state not in following or total > following[state][0]):
                    following[state] = (total, (*chosen, up))
        best = following
    _, chosen = best[(0,) * len(totals)]
    return [tuple(f + u for f, u in zip(floor, up, strict=True)) for floor, up in zip(floors, chosen, strict=True)]


def _deal(line: str, sizes: dict[str, int], quota: tuple[int, ...], exact: bool, seed: int) -> dict[str, str]:
    """The part of every group of one cell line, given the number of images in each group."""
    largest = max(sizes, key=lambda group: (sizes[group], group))
    if sizes[largest] > max(quota):
        raise InputError(
            f"cell line {line!r}: group {largest!r} has {sizes[largest]} images, more than any part of this cell line "
            f"({_named(quota)}): make the largest part larger, or the groups smaller."
        )
    rng = np.random.default_rng([seed, zlib.crc32(line.encode())])
    groups = sorted(sizes)
    groups = [groups[i] for i in rng.permutation(len(groups))]
    # Single images fit anywhere. Only the larger groups need to look ahead, and they are dealt out first.
    groups.sort(key=lambda group: sizes[group] == 1)
    larger = [sizes[group] for group in groups if sizes[group] > 1]
    singles = len(groups) - len(larger)
    reachable = _reachable(larger, singles, quota[1] + max(sizes.values()), quota[2] + max(sizes.values()))
    if not _is_reachable(reachable[0], quota[1], quota[2]):
        nearest = _nearest(reachable[0], quota)
        if exact:
            raise InputError(
                f"cell line {line!r}: whole groups cannot make {_named(quota)}; the nearest is {_named(nearest)}: "
                "change the sizes, or give fractions."
            )
        quota = nearest
    lacking = list(quota)
    parts = {}
    for i, group in enumerate(groups):
        size = sizes[group]
        drawn = int(np.searchsorted(np.cumsum(lacking), rng.integers(sum(lacking)), side="right"))
        for part in (drawn, *sorted({0, 1, 2} - {drawn}, key=lambda other: (-lacking[other], other))):
            after = [n - size * (other == part) for other, n in enumerate(lacking)]
            ahead = reachable[i + 1] if i < len(larger) else None
            if min(after) >= 0 and (ahead is None or _is_reachable(ahead, after[1], after[2])):
                break
        lacking = after
        parts[group] = PARTS[part]
    return parts


def _reachable(larger: list[int], singles: int, most_val: int, most_test: int) -> list[list[int]]:
    """Which numbers of val and test images the groups from the i-th on can make up; the rest goes into train.

    Item i is a list over the number of val images, of bit sets: bit t is set if t test images are possible with it. The
    last item is for the single images alone. Unchanged numbers are shared between items, which saves memory.
    """
    mask = (1 << (most_test + 1)) - 1
    last = [((1 << (singles - val + 1)) - 1) & mask if val <= singles else 0 for val in range(most_val + 1)]
    items = [last]
    for size in reversed(larger):
        before = items[-1]
        item = []
        for val, old in enumerate(before):
            new = (old | old << size | (before[val - size] if val >= size else 0)) & mask
            item.append(old if new == old else new)
        items.append(item)
    return items[::-1]


def _is_reachable(reachable: list[int], val: int, test: int) -> bool:
    return bool(reachable[val] >> test & 1)


def _nearest(reachable: list[int], quota: tuple[int, ...]) -> tuple[int, ...]:
    """The reachable numbers with the least total difference from the quota; ties: most val, then most test images."""
    options = (
        (sum(quota) - val - test, val, test)
        for val, tests in enumerate(reachable)
        for test in range(tests.bit_length())
        if tests >> test & 1 and val + test <= sum(quota)
    )
    return min(
        options,
        key=lambda option: (sum(abs(a - b) for a, b in zip(option, quota, strict=True)), -option[1], -option[2]),
    )


def _named(counts: Sequence[int]) -> str:
    """For example "train 6, val 2, test 2"."""
    return ", ".join(f"{part} {count}" for part, count in zip(PARTS, counts, strict=True))
