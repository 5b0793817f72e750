"""Simulated fields and data sets: repeatable, paired, and with a truth that is consistent in itself."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from equinuclei.errors import InputError
from equinuclei.simulation import samples
from equinuclei.simulation.cell_lines import CELL_LINES
from equinuclei.simulation.datasets import MODALITIES
from equinuclei.simulation.fields import simulate_field

LINES = list(CELL_LINES)


@pytest.fixture(scope="module")
def fields():
    """Two fields of every cell line."""
    return {(line, k): simulate_field(line, [11, i, k], 256, 224) for i, line in enumerate(LINES) for k in range(2)}


def same(one, other):
    """Whether each of the four arrays of two fields is the same."""
    pairs = [(one.images[name], other.images[name]) for name in MODALITIES]
    pairs += [(one.instances, other.instances), (one.three_class, other.three_class)]
    return [np.array_equal(a, b) for a, b in pairs]


def test_the_seven_cell_lines_are_those_of_the_study():
    assert LINES == ["NIH3T3", "MDCK", "HeLa", "MCF7", "A549", "HepG2", "HT1080"]


def test_fields_have_the_promised_arrays(fields):
    for simulated in fields.values():
        assert list(simulated.images) == ["fluorescence", "brightfield"]
        arrays = [*simulated.images.values(), simulated.instances, simulated.three_class]
        assert [array.dtype for array in arrays] == [np.uint16, np.uint16, np.uint16, np.uint8]
        assert {array.shape for array in arrays} == {(256, 224)}
        for image in simulated.images.values():
            assert np.mean(image == 65535) < 0.001, "saturated"
            assert np.mean(image == 0) < 0.001, "clipped at zero"


def test_labels_are_consecutive_and_each_is_one_component(fields):
    for simulated in fields.values():
        labels = simulated.instances
        count = labels.max()
        assert count >= 1
        assert np.array_equal(np.unique(labels), np.arange(count + 1))
        for label in range(1, count + 1):
            assert ndimage.label(labels == label)[1] == 1
        assert np.bincount(labels.ravel()).min() >= samples._SMALLEST_AREA


def test_nuclei_cut_by_the_edge_are_cleaned_too():
    # small fields of large nuclei are edge for the most part
    for seed in range(40):
        labels = simulate_field("HT1080", seed, 32, 36, scale=1.5).instances
        assert labels.max() >= 1
        assert np.array_equal(np.unique(labels[labels > 0]), np.arange(1, labels.max() + 1))
        for label in range(1, labels.max() + 1):
            assert ndimage.label(labels == label)[1] == 1
            assert (labels == label).sum() >= samples._SMALLEST_AREA * 1.5**2


def test_an_edge_that_cuts_a_nucleus_in_two_keeps_the_larger_piece():
    labels = np.zeros((20, 20), dtype=np.uint16)
    labels[2:5, 2:16] = 1  # a horseshoe whose bend lies outside the field
    labels[5:12, 2:6] = 1
    labels[5:9, 12:16] = 1
    labels[14:16, 14:20] = 2  # only 2 x 1 pixels of it lie in the field
    labels[17:20, 2:8] = 3  # outside
    cleaned, old = samples._clean_labels(labels, margin=5, smallest=3)
    assert old.tolist() == [0, 2]
    inner = cleaned[5:-5, 5:-5]
    assert np.unique(inner).tolist() == [0, 1]
    assert ndimage.label(inner)[1] == 1
    assert (inner == 1).sum() == 12
    assert (cleaned[17:20, 2:8] == 2).all()


def test_some_nuclei_touch(fields):
    touching = 0
    for simulated in fields.values():
        a, b = simulated.instances[:, 1:], simulated.instances[:, :-1]
        touching += np.any((a != b) & (a > 0) & (b > 0))
    assert touching >= 3


def test_a_nucleus_is_never_painted_over_by_a_later_one():
    rng = np.random.default_rng(0)
    labels, _, outlines, _ = samples._place_nuclei(CELL_LINES["HepG2"], rng, (300, 300), margin=20, scale=1.0)
    overlaps = 0
    taken = np.zeros(labels.shape, dtype=bool)
    for number, outline in enumerate(outlines, start=1):
        inside = np.zeros(labels.shape, dtype=bool)
        window = outline.window(labels.shape)
        inside[window] = outline.depth(window) > 0
        assert np.array_equal(labels == number, inside & ~taken)
        overlaps += (inside & taken).any()
        taken |= inside
    assert overlaps > 0


def test_three_classes_agree_with_instances(fields):
    for simulated in fields.values():
        labels, classes = simulated.instances, simulated.three_class
        assert np.array_equal(classes > 0, labels > 0)
        assert set(np.unique(classes)) == {0, 1, 2}


def test_equal_seeds_give_equal_fields_and_others_do_not():
    field = simulate_field("HeLa", [1, 2, 3], 96, 96)
    assert all(same(field, simulate_field("HeLa", [1, 2, 3], 96, 96)))
    assert not any(same(field, simulate_field("HeLa", [1, 2, 4], 96, 96)))
    assert not any(same(field, simulate_field("MCF7", [1, 2, 3], 96, 96)))


def test_both_modalities_show_the_nuclei_of_the_truth(fields):
    """Stain is brighter inside the nuclei; in brightfield not brightness but structure is where the borders are."""
    stained, structured = [], []
    for simulated in fields.values():
        truth, border = simulated.instances > 0, simulated.three_class == 1
        fluorescence, brightfield = (image.astype(float) for image in simulated.images.values())
        detail = np.abs(ndimage.laplace(ndimage.gaussian_filter(brightfield, 1.5)))
        # the truth turned by half is the control: as much border, in the wrong place
        stained.append(fluorescence[truth].mean() / fluorescence[np.rot90(truth, 2)].mean())
        structured.append(detail[border].mean() / detail[np.rot90(border, 2)].mean())
        assert abs(brightfield[truth].mean() / brightfield[~truth].mean() - 1) < 0.1
    assert min(stained) > 1.2
    assert np.median(structured) > 1.5


def test_a_global_threshold_is_imperfect_in_fluorescence_and_useless_in_brightfield(fields):
    scores = {name: [] for name in MODALITIES}
    for simulated in fields.values():
        truth = simulated.three_class > 0
        for name, image in simulated.images.items():
            predicted = image > threshold_otsu(image)
            scores[name].append(2 * np.sum(predicted & truth) / (predicted.sum() + truth.sum()))
    assert 0.75 < np.mean(scores["fluorescence"]) < 0.93
    assert np.mean(scores["brightfield"]) < 0.4


def test_cell_lines_differ_in_size_and_number_of_nuclei(fields):
    areas = {line: [] for line in LINES}
    for (line, _), simulated in fields.items():
        areas[line] += np.bincount(simulated.instances.ravel())[1:].tolist()
    assert np.median(areas["HT1080"]) > 2 * np.median(areas["MDCK"])
    assert np.median(areas["A549"]) > 1.3 * np.median(areas["NIH3T3"])
    assert len(areas["MDCK"]) > 2 * len(areas["HT1080"])


def test_scale_magnifies_nuclei():
    def median_area(scale):
        labels = [simulate_field("NIH3T3", seed, 256, 256, scale=scale).instances for seed in range(3)]
        return np.median(np.concatenate([np.bincount(label.ravel())[1:] for label in labels]))

    assert 2.8 < median_area(2.0) / median_area(1.0) < 5.2


def test_the_message_on_an_unknown_cell_line_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'Vero'.*NIH3T3, MDCK, HeLa, MCF7, A549, HepG2, HT1080"):
        simulate_field("Vero", 0, 64, 64)
    with pytest.raises(InputError, match="seed"):
        simulate_field("HeLa", [0, -1], 64, 64)
