"""Functions timed against each other, in turns and in random order: a slow moment of the machine falls on all."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def measure(functions: Mapping[object, Callable], rounds: int) -> dict[object, list[float]]:
    """Seconds of every function in every round, in which each runs once, in random order."""
    for function in functions.values():
        function()
    seconds: dict = {name: [] for name in functions}
    order = list(functions)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            start = time.perf_counter()
            functions[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> float:
    """Median over the rounds of what a function took, divided by what another took in the same round."""
    return statistics.median(a / b for a, b in zip(seconds, reference, strict=True))
