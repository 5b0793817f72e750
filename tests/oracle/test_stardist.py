"""Object scores against `stardist.matching`, where that package is installed (its metrics need no TensorFlow)."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from equinuclei.evaluation.scoring import otsu_mask
from equinuclei.images.instances import connected_components
from equinuclei.images.metrics import THRESHOLDS, object_scores

matching = pytest.importorskip("stardist.matching").matching

ROOT = Path(__file__).parents[2]
REAL = ROOT / yaml.safe_load((ROOT / "config/real.yaml").read_text())["data_root"] / "dsb2018_fluo"


def label_pairs():
    shapes = array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12)

    def pair(shape):
        one = arrays(np.int32, shape, elements=st.sampled_from((0, 1, 2, 3, 5, 9)))
        # The second image is the first with some pixels drawn anew: overlaps of every size.
        other = st.tuples(arrays(bool, shape), arrays(np.int32, shape, elements=st.integers(0, 6)))
        return st.tuples(one, other).map(lambda drawn: (drawn[0], np.where(drawn[1][0], drawn[1][1], drawn[0])))

    return shapes.flatmap(pair)


def assert_equal_scores(truth, prediction):
    ours = object_scores(truth, prediction)
    theirs = matching(truth, prediction, thresh=list(THRESHOLDS))
    counts = ours[["TP", "FP", "FN"]].to_numpy().tolist()
    assert counts == [[score.tp, score.fp, score.fn] for score in theirs]
    # stardist gives 0 where there is no object on either side.
    expected = [[s.precision, s.recall, s.f1, s.accuracy, s.panoptic_quality] for s in theirs]
    np.testing.assert_allclose(ours[["precision", "recall", "F1", "AP", "PQ"]].fillna(0), expected, atol=1e-7)


@settings(deadline=None, max_examples=300)
@given(label_pairs())
def test_random_label_images(pair):
    assert_equal_scores(*pair)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_smooth_label_images(seed, shift):
    random = np.random.default_rng(seed)
    coarse = random.random((20, 20)) < 0.35
    mask = np.kron(coarse, np.ones((6, 6), dtype=bool))
    moved = np.roll(mask, (shift, 1), axis=(0, 1)) & (random.random(mask.shape) < 0.99)
    assert_equal_scores(connected_components(mask), connected_components(moved))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real set {REAL.name}")
@pytest.mark.parametrize("place", range(0, 460, 23))
def test_real_label_images(place):
    path = sorted((REAL / "masks").glob("*.tif"))[place]
    truth = tifffile.imread(path).astype(np.int32)
    image = tifffile.imread(REAL / "images" / path.name)
    assert_equal_scores(truth, connected_components(otsu_mask(image)))
    assert_equal_scores(truth, connected_components(truth > 0))
