"""Attempts of a training: where one collapses, the next starts from other first weights.

A network that predicts background everywhere, or nucleus everywhere, may have hardly a gradient left that would change
it. Whether that happens is decided by its first weights and its first batches (docs/networks.md). So a training whose
predictions of all crops of an epoch are as good as constant, though their truths are not, halfway or at its end, starts
again. It sees the same crops in the same order, as other models do with the same seed.
"""

import logging
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from equinuclei.runtime.files import done_record, mark_done
from equinuclei.training.task import SegmentationTask

logger = logging.getLogger("equinuclei.training.attempts")


def seed_of_attempt(seed: int, number: int) -> int:
    """The seed of the first weights of an attempt, counted from 1: that of the training, then others made from it."""
    return seed if number == 1 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def train_until_it_learns(
    start: Callable[[int], SegmentationTask],
    fit: Callable[[SegmentationTask, Path], None],
    folder: Path,
    attempts: int,
    seed: int,
) -> tuple[SegmentationTask, list[dict[str, Any]]]:
    """Train until an attempt does not collapse, or the last one has ended; an interrupted attempt goes on.

    Parameters
    ----------
    start : gives what is trained, at the start of an attempt, by its number
    fit : trains it, with its checkpoints in a folder
    folder : the work folder of the job, with a mark of every attempt that collapsed. The first attempt has its
        checkpoints in it, each other one in a folder of its own, so that none is taken for that of another
    attempts : how many there may be
    seed : of the training

    Returns what was trained last, and the record of every attempt: `seed` of its first weights, `epochs` and `steps`
    made, `seconds`, `cpu_seconds`, and `collapsed`, as "finds nothing", or null.
    """
    records: list[dict[str, Any]] = []
    for number in count(1):
        record = done_record(folder, f"attempt{number}")
        if record is None:
            task = start(number)
            task.restarts = number < attempts
            inside = folder if number == 1 else folder / f"attempt{number}"
            inside.mkdir(exist_ok=True)
            fit(task, inside)
            record = _record(task, seed_of_attempt(seed, number))
            if not task.collapsed or number >= attempts:
                if task.collapsed:
                    _warn_of_the_last(task, attempts)
                return task, [*records, record]
            mark_done(folder, f"attempt{number}", record)
            logger.warning(
                "attempt %d of %d has collapsed: after epoch %d of %d the network %s in the crops that it learns from; "
                "the training starts again from other first weights",
                number, attempts, record["epochs"], task.settings.epochs, task.collapsed,
            )  # fmt: skip
        records.append(record)
    raise AssertionError("the last attempt returns")


def _record(task: SegmentationTask, seed: int) -> dict[str, Any]:
    epochs = len(task.history)
    return {
        "seed": seed,
        "epochs": epochs,
        "steps": epochs * len(task.sampler),
        "seconds": round(task.seconds, 2),
        "cpu_seconds": round(task.cpu_seconds, 2),
        "collapsed": task.collapsed or None,
    }


def _warn_of_the_last(task: SegmentationTask, attempts: int) -> None:
    tried = "the training has" if attempts == 1 else f"all {attempts} attempts have"
    logger.warning(
        "%s collapsed: the network %s even in the crops that it learns from. Its weights are kept, and are of no use: "
        "train for more epochs, or with another `learning_rate`",
        tried, task.collapsed,
    )  # fmt: skip
