"""Models scored as they are deployed: known answers, and the symmetry of what is found."""

import numpy as np
import pandas as pd
import pytest

from equinuclei.evaluation.accuracy import FLOOR, MODEL, labels_of_rotations, same_partition, summarize
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.folding import fold
from equinuclei.simulation.fields import simulate_field
from support.tiny_model import tiny_weights


def rows(method, scores, **columns):
    """A row per image; AP is `scores`, of ten true nuclei each."""
    found, numbers = np.array([round(10 * score) for score in scores]), range(len(scores))
    table = pd.DataFrame({f"AP{t}": scores for t in (50, 70, 90)}, dtype=float)
    table = table.assign(TP50=found, FP50=0, FN50=10 - found, pixel_F1=0.9, median_area=50.0, **columns)
    return table.assign(
        image_id=[f"i{n}" for n in numbers], group=[f"g{n // 2}" for n in numbers], cell_line="HeLa", method=method
    )


def test_a_summary_tells_the_estimates_and_the_paired_difference():
    model = rows(MODEL, [0.9, 0.7, 0.8, 0.8], identical=True, identical_bfloat16=[True, False, True, True])
    text = summarize(pd.concat([model, rows(FLOOR, [0.8, 0.6, 0.7, 0.7])]))
    line = next(line for line in text.splitlines() if line.startswith("| AP at IoU 0.5"))
    # Both groups are alike, and two are few: only 0.16 of all groups need be like them (0.025 ** (1 / 2)).
    assert "| 0.800 (0.126 to 0.968)" in line and "+0.100 (-0.826 to +0.858)" in line
    pooled = next(line for line in text.splitlines() if "pooled" in line)
    assert f"| {2 * 32 / (2 * 32 + 8):.3f} (" in pooled
    assert "4 images in 2 groups" in text and "100.0 % of images in float32, 75.0 % in bfloat16" in text
    assert "| 0 to 100 pixels | 4 | 0.800 | 0.800 |" in text


@pytest.mark.parametrize("change, same", [
    (lambda a: np.where(a == 1, 7, a), True),
    (lambda a: np.where(a == 1, 2, a), False),
    (lambda a: np.where(a == 1, 0, a), False),
    (lambda a: np.where((a == 1) & (np.arange(6) > 0), 9, a), False),
])  # fmt: skip
def test_partitions_are_compared_whatever_their_numbers(change, same):
    labels = np.array([[1, 1, 0, 2, 2, 0], [1, 1, 0, 2, 2, 0]])
    assert same_partition(labels, change(labels)) == same_partition(change(labels), labels) == same


def test_an_equivariant_network_finds_the_same_nuclei_whichever_way_the_image_lies():
    image = simulate_field("HeLa", 5, 96, 112).images["fluorescence"]
    labels, identical = labels_of_rotations(fold(load_model(tiny_weights("distance"))), image)
    assert identical and labels.max() > 1
