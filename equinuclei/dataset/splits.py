"""Train, val and test: deterministic, stratified by cell line, groups kept whole."""

import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.checksums import sha256
from equinuclei.dataset.parts import PARTS
from equinuclei.errors import InputError
from equinuclei.runtime.files import replacing
from equinuclei.tables.files import write_table


def split_dataset(fields: pd.DataFrame, sizes: Sequence[int] | Sequence[float], seed: int) -> pd.DataFrame:
    """Give every image_id to train, val or test.

    Where `fields` names a split for every image, that is the part, and `sizes` and `seed` are unused. Otherwise each
    cell line gets its share of each part by largest remainders, such that both the parts and the cell lines add up,
    and its groups are dealt out at random: a draw goes to a part with a chance proportional to the images that the
    part still lacks, among those from which the sizes can still be met. The draws of a cell line depend on `seed`, its
    name and its own groups alone, not on the order of rows.

    Parameters
    ----------
    fields
        Columns image_id, cell_line, group, split; others are ignored. Rows of one image_id (its modalities) must agree.
    sizes
        For train, val and test: numbers of image_ids, which are met exactly, overall and in every cell line; or
        fractions with the sum 1, which are met as nearly as whole groups allow.
    seed
        Not negative.

    Returns
    -------
    pandas.DataFrame
        Columns image_id, cell_line, group, part; sorted by image_id, a row for each.

    Raises
    ------
    InputError
        If rows of one image_id disagree, a group has two cell lines or two splits, a split is unknown or given for
        some images only, the sizes do not add up, a group is larger than every part, numbers cannot be met with whole
        groups, or a part with a size above 0 would be empty.
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
                f"sizes {list(sizes)}: no image would be in {' and '.join(empty)}, of {len(table)} images in "
                f"{table['group'].nunique()} groups: ask for more there, or for 0."
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
        ("cell_line", "a split within cell lines would tear it apart; rename the group in one of them"),
        ("split", "move all of it to one"),
    ):
        values = table.groupby("group")[column].unique()
        problems += [
            f"group {group!r} has {column} {' and '.join(map(repr, several))}: {remedy}"
            for group, several in values[values.str.len() > 1].items()
        ]
    given = table["split"] != ""
    if given.any() and not given.all():
        problems.append(f"split is given for {given.sum()} of {len(table)} images: give it for all or none")
    problems += [f"split {value!r} is not one of {', '.join(PARTS)}" for value in set(table["split"]) - {*PARTS, ""}]
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise InputError(f"split: {'; '.join(problems[:5])}{more}.")
    if table.empty:
        raise InputError("split: there are no images.")
    return table.sort_values("image_id", ignore_index=True)


def _totals(sizes: Sequence[int] | Sequence[float], count: int, exact: bool) -> list[int]:
    """Images of each part in the whole data set."""
    if len(sizes) != len(PARTS) or any(size < 0 for size in sizes):
        raise InputError(f"sizes {list(sizes)}: give three numbers, for train, val and test, none below 0.")
    if exact:
        if sum(sizes) != count:
            raise InputError(
                f"sizes {' + '.join(map(str, sizes))} = {sum(sizes)}, but the data set has {count} images: "
                "give counts with that sum, or fractions with the sum 1."
            )
        return [int(size) for size in sizes]
    if abs(sum(sizes) - 1) > 1e-6:
        raise InputError(f"sizes {list(sizes)} have the sum {sum(sizes):g}: fractions must have the sum 1.")
    # As exact fractions, so that 0.1 of 10 is 1 and ties do not hang on rounding.
    shares = [Fraction(size).limit_denominator(10**6) for size in sizes]
    ideal = [share * count / sum(shares) for share in shares]
    totals = [int(number) for number in ideal]
    by_remainder = sorted(range(len(PARTS)), key=lambda part: (totals[part] - ideal[part], part))
    for part in by_remainder[: count - sum(totals)]:
        totals[part] += 1
    return totals


def _quotas(line_sizes: Sequence[int], totals: Sequence[int]) -> list[tuple[int, ...]]:
    """Images of each cell line (rows) in each part (columns), with the given sums of rows and columns.

    Every number is its ideal `line * total / count` rounded down or up; of all such tables, one with the largest sum
    of remainders rounded up is found by dynamic programming over the lines (ties: the first part is rounded up
    first). Such a table exists for all sums (Cox, J. Am. Stat. Assoc. 82, 520-524, 1987: controlled rounding).
    """
    count = sum(totals)
    floors = [[size * total // count for total in totals] for size in line_sizes]
    remainders = [[size * total % count for total in totals] for size in line_sizes]
    lacking = tuple(total - sum(column) for total, column in zip(totals, zip(*floors, strict=True), strict=True))
    # Parts still lacking images -> (sum of remainders rounded up, parts rounded up in each line so far).
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
    """The part of each group of one cell line."""
    largest = max(sizes, key=lambda group: (sizes[group], group))
    if sizes[largest] > max(quota):
        raise InputError(
            f"cell line {line!r}: group {largest!r} has {sizes[largest]} images, more than any part of this cell line "
            f"({_named(quota)}): make the largest part larger, or the groups smaller."
        )
    rng = np.random.default_rng([seed, zlib.crc32(line.encode())])
    groups = sorted(sizes)
    groups = [groups[i] for i in rng.permutation(len(groups))]
    # Single images fit anywhere, so only the larger groups need to look ahead, and they go first.
    groups.sort(key=lambda group: sizes[group] == 1)
    several = [sizes[group] for group in groups if sizes[group] > 1]
    singles = len(groups) - len(several)
    reachable = _reachable(several, singles, quota[1] + max(sizes.values()), quota[2] + max(sizes.values()))
    if not _can(reachable[0], quota[1], quota[2]):
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
            ahead = reachable[i + 1] if i < len(several) else None
            if min(after) >= 0 and (ahead is None or _can(ahead, after[1], after[2])):
                break
        lacking = after
        parts[group] = PARTS[part]
    return parts


def _reachable(several: list[int], singles: int, most_val: int, most_test: int) -> list[list[int]]:
    """What the groups from the i-th on can put into val and test, all others being in train.

    Item i is a list over the number of val images; bit t of a number is set if t test images go with it. The last
    item is what the single images can do. Memory: a number that does not change is shared between items.
    """
    mask = (1 << (most_test + 1)) - 1
    last = [((1 << (singles - val + 1)) - 1) & mask if val <= singles else 0 for val in range(most_val + 1)]
    items = [last]
    for size in reversed(several):
        before = items[-1]
        item = []
        for val, old in enumerate(before):
            new = (old | old << size | (before[val - size] if val >= size else 0)) & mask
            item.append(old if new == old else new)
        items.append(item)
    return items[::-1]


def _can(reachable: list[int], val: int, test: int) -> bool:
    return bool(reachable[val] >> test & 1)


def _nearest(reachable: list[int], quota: tuple[int, ...]) -> tuple[int, ...]:
    """The reachable numbers that differ least from the quota in sum; ties: fewest taken from val, then test."""
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
    return ", ".join(f"{part} {count}" for part, count in zip(PARTS, counts, strict=True))
