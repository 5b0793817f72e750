"""What a campaign found: a row per kind of fault, and what went wrong."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .play import OUTCOMES, SILENT, WRONG, Result

SHOWN = 8
"""Differing files of a run that are named."""


def table(results: Iterable[Result]) -> str:
    """A row per kind: how often it hit, and how the runs that it hit ended."""
    counts: Counter[tuple[str, str]] = Counter()
    for result in results:
        for fault in result.faults:
            counts[fault["kind"], fault["outcome"]] += 1
    kinds = sorted({kind for kind, _ in counts})
    width = max([len(kind) for kind in kinds] + [len("kind of fault")])
    rows = [("kind of fault", "times", *OUTCOMES)]
    for kind in [*kinds, "all"]:
        numbers = [sum(n for (k, o), n in counts.items() if kind in (k, "all") and o == name) for name in OUTCOMES]
        rows.append((kind, str(sum(numbers)), *(str(number or "") for number in numbers)))
    widths = [width, 5, *map(len, OUTCOMES)]
    lines = ["| " + " | ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (size + 2) for size in widths) + "|")
    return "\n".join(lines)


def wrongs(results: Iterable[Result], folder: Path) -> str:
    """Of every run that went wrong: what was injected, what differs, and where everything is kept."""
    lines = []
    for result in results:
        if result.outcome not in (WRONG, SILENT):
            continue
        lines.append(
            f"{result.outcome}: run {result.run} ({result.what}), {result.calls} calls: {folder}/runs/{result.run:03}"
        )
        lines += [f"    {note}" for note in result.notes]
        lines += [f"    differs: {name}" for name in result.differences[:SHOWN]]
        if (more := len(result.differences) - SHOWN) > 0:
            lines.append(f"    ... and {more} more")
    return "\n".join(lines)
