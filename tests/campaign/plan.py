"""What is drawn before a run begins: which faults, after how much work, for how long. Equal seeds give equal plans."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FAULTS_PER_RUN = 6


@dataclass(frozen=True)
class Drawn:
    """A fault as it was drawn.

    kind : name of the kind (`faults.KINDS`)
    after : so many steps of work after the fault before it; a step is a job that starts, or a unit that it finishes
    at_stop : whether it hits while a job stands still at the end of a unit, else `delay` seconds after the step
    lasts : seconds that it lasts, if it is one that passes; None: until the command has ended
    choice : from 0 to 1, picks one of the files or processes that it may hit
    """

    kind: str
    after: int
    at_stop: bool
    delay: float
    lasts: float | None
    choice: float


def draw(seed: int, what: str, run: int, kinds: Sequence[str], number: int = FAULTS_PER_RUN) -> list[Drawn]:
    """The faults of a run. Every kind comes up once before one comes up twice, in an order of the seed."""
    faults = []
    for place in range(run * number, (run + 1) * number):
        order = list(kinds)
        random.Random(f"{seed} {what} {place // len(kinds)}").shuffle(order)
        dice = random.Random(f"{seed} {what} fault {place}")
        faults.append(
            Drawn(
                order[place % len(kinds)],
                dice.randint(1, 6),
                dice.random() < 0.5,
                round(dice.uniform(0, 0.8), 3),
                dice.choice([0.3, 1.0, 3.0, None]),
                round(dice.random(), 6),
            )
        )
    return faults


def write_plan(path: Path, faults: Sequence[Drawn]) -> None:
    path.write_text(json.dumps([asdict(fault) for fault in faults], indent=1) + "\n")
