"""A mosaic predicted in tiles is the mosaic predicted whole."""

import math
from types import SimpleNamespace

import dask.array
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from equinuclei.errors import InputError
from equinuclei.images.intensity import normalize
from equinuclei.inference import tiling
from equinuclei.inference.tiling import (
    WINDOW_MEMORY,
    _cheapest_counts,
    _spans,
    feature_bytes,
    flipped_pixels,
    halo_width,
    predict_mosaic,
    predict_tiles,
)
from equinuclei.inference.whole_images import predict_maps
from equinuclei.networks.build import build_model
from equinuclei.networks.folding import fold
from equinuclei.networks.targets import NO_IMAGE, target_of
from equinuclei.specs import TARGETS, ModelSpec

torch.set_num_threads(1)
TOLERANCE = 5e-5


def network(architecture="simplified", group="p4", widths=(2, 3, 4), seed=0, target="binary"):
    torch.manual_seed(seed)
    return fold(build_model(ModelSpec(architecture, group, widths, target=target)).eval())


def whole(net, image):
    with torch.inference_mode():
        return predict_maps(net, torch.from_numpy(normalize(image))[None, None])[0].numpy()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, (height, width)).astype(np.uint16)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["unet", "simplified", "gdensenet"]),
    st.sampled_from(["trivial", "p4", "p4m"]),
    st.sampled_from([(2, 2), (2, 2, 3), (2, 2, 2, 2)]),
    st.integers(9, 150),
    st.integers(9, 150),
    st.integers(1, 90),
    st.integers(1, 5),
    st.integers(0, 100),
    st.sampled_from(list(TARGETS)),
)
def test_tiled_is_whole(architecture, group, widths, height, width, tile, batch_size, seed, target):
    net, image = network(architecture, group, widths, seed, target), noise(height, width, seed)
    expected = whole(net, image)
    tiled = predict_mosaic(net, image, tile=tile, whole_pixels=0, batch_size=batch_size)
    assert tiled.dtype == np.float32 and tiled.shape == (len(target_of(target).no_image), *image.shape)
    assert np.abs(tiled - expected).max() <= TOLERANCE * max(1, np.abs(expected).max())
    assert flipped_pixels(tiled, expected) <= np.count_nonzero(np.abs(expected) <= TOLERANCE)


@pytest.mark.parametrize("magnification", [0.5, 0.8, 1.7])
def test_a_magnified_mosaic_in_tiles_is_the_magnified_whole(magnification):
    net, image = network(), noise(90, 131)
    valid = np.ones(image.shape, bool)
    valid[20:50, 30:60] = False
    whole, tiled = (
        predict_mosaic(net, image, valid=valid, tile=16, whole_pixels=pixels, magnification=magnification)
        for pixels in (10**6, 0)
    )
    assert whole.shape == (1, *image.shape)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=TOLERANCE * max(1, np.abs(whole[:, valid]).max()))
    assert (whole[:, ~valid] == NO_IMAGE).all()


@pytest.mark.parametrize("magnification", [0.5, 0.8, 1.7])
def test_a_magnified_mosaic_is_what_the_network_makes_of_the_magnified_image(magnification):
    net, image = network(target="distance"), noise(90, 131)
    shape = [round(magnification * size) for size in image.shape]

    def shown(images, size):
        return interpolate(images.double(), size, mode="bilinear", antialias=True).float()

    with torch.inference_mode():
        maps = predict_maps(net, shown(torch.from_numpy(normalize(image))[None, None], shape))
    expected = shown(maps, image.shape)[0].numpy()
    np.testing.assert_allclose(predict_mosaic(net, image, magnification=magnification), expected, rtol=0, atol=1e-4)


def influence(net, shape, place, tile):
    """Which logits a pixel at `place` reaches: whole and in tiles. NaN marks them, through ReLU and pooling too."""
    image = np.zeros(shape, np.float32)
    image[place] = np.nan
    with torch.inference_mode():
        expected = predict_maps(net, torch.from_numpy(image)[None, None])[0, 0].isnan().numpy()
    tiled = np.zeros(shape, bool)
    for rows, columns, values in predict_tiles(net, lambda r, c: image[r, c], shape, tile=tile, whole_pixels=0):
        tiled[rows, columns] = np.isnan(values[0])
    return expected, tiled


@pytest.mark.parametrize("architecture", ["unet", "simplified", "gdensenet", "gunet"])
@pytest.mark.parametrize("pad", [0, 1, 2, 3])
def test_a_tile_sees_all_that_its_logits_depend_on(architecture, pad):
    net = network(architecture, "trivial")
    tile = 16
    shape = (3 * tile + 6 * net.reach - (3 * tile + 6 * net.reach) % 4 - pad, 12)
    for y in range(shape[0] // 2, shape[0] // 2 + 2 * net.input_multiple):
        expected, tiled = influence(net, shape, (y, 5), tile)
        np.testing.assert_array_equal(tiled, expected)
        assert not expected.all()


@pytest.mark.parametrize("architecture", ["unet", "simplified"])
def test_a_halo_that_is_too_small_is_noticed(architecture):
    """The test above would fail: three steps of the grid less, and logits at the rim of tiles miss pixels."""
    net = network(architecture, "trivial")
    shape = (16 + 8 * net.reach // 4 * 4, 12)
    places = [(y, 5) for y in range(shape[0] // 2, shape[0] // 2 + 16)]
    net.reach -= 3 * net.input_multiple
    missed = [np.count_nonzero(np.not_equal(*influence(net, shape, place, 16))) for place in places]
    assert sum(missed) > 0


def test_the_halo_holds_reach_and_pad():
    for multiple, reach in [(1, 3), (2, 5), (16, 107), (32, 407)]:
        halo = halo_width(SimpleNamespace(input_multiple=multiple, reach=reach))
        assert halo % multiple == 0 and reach + multiple // 2 <= halo < reach + multiple // 2 + multiple


def test_one_tile_gives_the_very_bits():
    net = network()
    for shape in [(64, 80), (61, 80), (61, 79)]:
        np.testing.assert_array_equal(predict_mosaic(net, noise(*shape)), whole(net, noise(*shape)))


def test_the_same_tiles_give_the_same_bits():
    net, image = network(), noise(130, 171)
    first, second = (predict_mosaic(net, image, tile=32, whole_pixels=0, batch_size=2) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("constant", [0, 7])
def test_a_constant_mosaic(constant):
    net, image = network(), np.full((70, 70), constant, np.uint16)
    assert np.abs(predict_mosaic(net, image, tile=16, whole_pixels=0) - whole(net, image)).max() <= TOLERANCE


def test_gaps_are_neutral_and_have_no_nuclei():
    net, image = network(), noise(90, 110)
    valid = np.ones(image.shape, bool)
    valid[:, 40:60] = False
    (expected,) = maps = predict_mosaic(net, image, valid=valid)
    assert (expected[~valid] == NO_IMAGE).all() and not target_of("binary").probability(maps)[~valid].any()
    # Whatever lies in the gap: no statistic and no logit sees it.
    other = image.astype(np.float32)
    other[~valid] = np.nan
    for tile in (1000, 24):
        (again,) = predict_mosaic(net, other, valid=valid, tile=tile, whole_pixels=0)
        assert np.abs(again - expected)[valid].max() <= TOLERANCE
    neutral = normalize(image[valid])
    filled = np.zeros(image.shape, np.float32)
    filled[valid] = neutral
    with torch.inference_mode():
        direct = predict_maps(net, torch.from_numpy(filled)[None, None])[0, 0].numpy()
    np.testing.assert_array_equal(expected[valid], direct[valid])


@pytest.mark.parametrize("target", TARGETS)
def test_a_mosaic_without_images(target):
    maps = predict_mosaic(network(target=target), noise(40, 40), valid=np.zeros((40, 40), bool))
    assert not target_of(target).codes(maps).any() and not target_of(target).probability(maps).any()


class Sliced:
    """What is neither an array nor larger than a window when it is read."""

    def __init__(self, array, most):
        self.array, self.most = array, most
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key):
        part = self.array[key]
        assert part.size <= self.most
        return part


def test_a_mosaic_is_read_in_parts():
    net, image = network(), noise(1100, 60)
    sliced = Sliced(image, 60 * 512)
    tiled = predict_mosaic(net, sliced, valid=Sliced(np.ones(image.shape, bool), 60 * 512), tile=32, whole_pixels=0)
    assert np.abs(tiled - whole(net, image)).max() <= TOLERANCE


def test_zarr_and_dask_arrays(tmp_path):
    net, image = network(), noise(90, 70)
    stored = zarr.create_array(tmp_path / "a.zarr", data=image, chunks=(32, 32))
    expected = predict_mosaic(net, image, tile=24, whole_pixels=0)
    for lazy in (stored, dask.array.from_zarr(stored)):
        np.testing.assert_array_equal(predict_mosaic(net, lazy, tile=24, whole_pixels=0), expected)


def test_a_reader_that_fails_is_heard():
    class Broken(Sliced):
        def __getitem__(self, key):
            if isinstance(key, tuple):
                raise OSError("the chunk is gone")
            return super().__getitem__(key)

    with pytest.raises(OSError, match="chunk is gone"):
        predict_mosaic(network(), Broken(noise(90, 70), 90 * 70), tile=24, whole_pixels=0)


def test_an_image_smaller_than_its_pad_is_refused():
    with pytest.raises(InputError, match="too small"):
        predict_mosaic(network(widths=(2, 2, 2, 2, 2)), noise(4, 100))


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="tile"):
        predict_mosaic(network(), noise(40, 40), tile=0)
    with pytest.raises(ValueError, match=r"\(y, x\)"):
        predict_mosaic(network(), np.zeros((1, 40, 40), np.uint8))
    with pytest.raises(ValueError, match="valid has shape"):
        predict_mosaic(network(), noise(40, 40), valid=np.ones((40, 41), bool))


def test_flipped_pixels():
    assert flipped_pixels(np.array([-1.0, 0.0, 2.0, 3.0]), np.array([1.0, -1.0, 1.0, 0.0])) == 2


@pytest.mark.parametrize("shape", [(3072, 3072), (6000, 6000), (1500, 9000), (9000, 1500)])
def test_tiles_by_memory_compute_little_beyond_a_mosaic(shape):
    """With the halo of the default model, 256 pixels, and what its features take."""
    padded = [-(-size // 32) * 32 for size in shape]
    counts = _cheapest_counts(padded, 32, 256, WINDOW_MEMORY / 512)
    lengths = [_spans(size, count, 32, 256)[1] for size, count in zip(shape, counts, strict=True)]
    assert math.prod(lengths) <= WINDOW_MEMORY / 512
    assert math.prod(lengths) * math.prod(counts) <= 1.2 * math.prod(shape)


@given(st.integers(40, 5000), st.integers(1, 12), st.sampled_from([8, 32]), st.integers(1, 8))
def test_tiles_cover_an_axis_once_and_lie_within_their_windows(size, count, multiple, halos):
    halo, padded = halos * multiple, -(-size // multiple) * multiple
    spans, length = _spans(size, count, multiple, halo)
    assert [span.start for span in spans] == [0, *(span.stop for span in spans[:-1])] and spans[-1].stop == size
    assert len(spans) <= count and all(span.start < span.stop and span.window % multiple == 0 for span in spans)
    for span in spans:
        assert span.window == 0 or span.start - span.window >= halo
        assert span.window + length == padded or span.window + length - span.stop >= halo


def test_progress_within_a_mosaic_is_told(monkeypatch, caplog):
    monkeypatch.setattr(tiling, "PROGRESS_SECONDS", 0)
    with caplog.at_level("INFO", logger="equinuclei"):
        predict_mosaic(network(), noise(200, 130), tile=16, whole_pixels=0)
    assert any("tiles, " in message and message.endswith("s left") for message in caplog.messages)


@pytest.mark.parametrize("architecture", ["unet", "simplified", "gunet"])
def test_memory_of_features_does_not_depend_on_the_mosaic(architecture):
    net = network(architecture)
    assert feature_bytes(net) == feature_bytes(net) > 8
