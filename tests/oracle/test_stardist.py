"""Object scores against `stardist.matching`, where that package is installed (its metrics need no TensorFlow)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from equinuclei.instances import connected_components
from equinuclei.metrics import THRESHOLDS, object_scores

matching = pytest.importorskip("stardist.matching").matching


def label_pairs():
    shapes = array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12)

    def pair(shape):
        one = arrays(np.int32, shape, elements=st.sampled_from((0, 1, 2, 3, 5, 9)))
        # The second image is the first with some pixels drawn anew: overlaps of every size.
        other = st.tuples(arrays(bool, shape), arrays(np.int32, shape, elements=st.integers(0, 6)))
        return st.tuples(one, other).map(lambda drawn: (drawn[0], np.where(drawn[1][0], drawn[1][1], drawn[0])))

    return shapes.flatmap(pair)


def assert_equal_counts(truth, prediction):
    ours = object_scores(truth, prediction)[["TP", "FP", "FN"]].to_numpy().tolist()
    theirs = matching(truth, prediction, thresh=list(THRESHOLDS))
    assert ours == [[score.tp, score.fp, score.fn] for score in theirs]


@settings(deadline=None, max_examples=300)
@given(label_pairs())
def test_random_label_images(pair):
    assert_equal_counts(*pair)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_smooth_label_images(seed, shift):
    random = np.random.default_rng(seed)
    coarse = random.random((20, 20)) < 0.35
    mask = np.kron(coarse, np.ones((6, 6), dtype=bool))
    moved = np.roll(mask, (shift, 1), axis=(0, 1)) & (random.random(mask.shape) < 0.99)
    assert_equal_counts(connected_components(mask), connected_components(moved))
