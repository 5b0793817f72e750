"""Crops: the right pixels, one per image and epoch, and the same at every run."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from equinuclei.images.intensity import normalize
from equinuclei.symmetry import Group
from equinuclei.training.crops import CropSampler


def numbered(shape, start=0):
    return (np.arange(np.prod(shape)).reshape(shape) + start).astype(np.uint16)


def sampler(images, targets=None, **settings):
    targets = targets or [image % 2 == 0 for image in images]
    return CropSampler(images, targets, **({"crop": 8, "batch_size": 2} | settings))


def test_every_image_gives_one_crop_an_epoch():
    images = [
        np.full((10, 12), value, np.uint8) + numbered((10, 12)).astype(np.uint8) % 2 for value in range(0, 50, 10)
    ]
    batches = list(sampler(images).epoch(0))
    assert [len(crops) for crops, _ in batches] == [2, 2, 1] and len(sampler(images)) == 3
    assert batches[0][0].shape == (2, 1, 8, 8) and batches[0][0].dtype == torch.float32


def test_fewer_images_give_more_crops_each_in_equal_numbers():
    images = [np.full((10, 12), value, np.uint8) + numbered((10, 12)).astype(np.uint8) % 2 for value in (0, 40, 80)]
    few = sampler(images, crops=7)
    for epoch in range(3):
        batches = list(few.epoch(epoch))
        assert [len(crops) for crops, _ in batches] == [2, 2, 2, 1] and len(few) == 4
        # All three images are drawn once before any is drawn again, in another order.
        drawn = _rows_drawn(few, epoch)
        assert sorted(drawn[:3]) == sorted(drawn[3:6]) == [0, 1, 2] and len(drawn) == 7
    whole = sampler(images)
    same = sampler(images, crops=3)
    for (a, _), (b, _) in zip(whole.epoch(0), same.epoch(0), strict=True):
        np.testing.assert_array_equal(a, b)


def _rows_drawn(few, epoch):
    """Numbers of the images that the crops of an epoch are of."""
    drawn = []
    original = few._batch
    few._batch = lambda rows, *others: drawn.extend(rows.tolist()) or original(rows, *others)
    list(few.epoch(epoch))
    few._batch = original
    return drawn


@pytest.mark.parametrize("augmentation, group", [("none", "trivial"), ("rotations", "p4"), ("dihedral", "p4m")])
def test_crops_are_windows_of_the_standardised_image_under_the_group(augmentation, group):
    image, seen = numbered((9, 10)), set()
    standardized = normalize(image)
    windows = {
        (y, x, g): g(standardized[y : y + 8, x : x + 8]).tobytes() for y in (0, 1) for x in (0, 1, 2)
        for g in Group(group).elements
    }  # fmt: skip
    places = {content: place for place, content in windows.items()}
    batches = sampler([image], augmentation=augmentation)
    for epoch in range(600):
        ((crop, target),) = batches.epoch(epoch)
        place = places[crop[0, 0].numpy().tobytes()]
        y, x, g = place
        np.testing.assert_array_equal(target[0, 0].numpy(), g(image[y : y + 8, x : x + 8] % 2 == 0))
        seen.add(place)
    assert seen == set(windows)  # every place and element is reached


def test_an_epoch_depends_on_seed_and_number_alone():
    images = [numbered((20, 20), start) for start in range(6)]

    def content(seed, epoch):
        return b"".join(crops.numpy().tobytes() for crops, _ in sampler(images, seed=seed).epoch(epoch))

    assert content(1, 3) == content(1, 3)
    assert len({content(1, 3), content(1, 4), content(2, 3)}) == 3


def test_models_with_and_without_augmentation_see_the_same_places():
    images = [numbered((20, 20), start) for start in range(6)]
    (plain, _), (turned, _) = (next(iter(sampler(images, augmentation=a).epoch(0))) for a in ("none", "dihedral"))
    for a, b in zip(plain, turned, strict=True):
        assert sorted(a.ravel().tolist()) == sorted(b.ravel().tolist())


def test_small_images_are_padded_and_standardised_by_their_own_pixels():
    image = numbered((5, 20))
    ((crop, target),) = sampler([image]).centre_crops()
    expected = np.pad(normalize(image), [(1, 2), (0, 0)], mode="symmetric")[:, 6:14]
    np.testing.assert_array_equal(crop[0, 0].numpy(), expected)
    assert target.shape == (1, 1, 8, 8)


def test_zoomed_crops_show_more_or_fewer_pixels_of_image_and_truth_alike():
    """The truth of a disc is where the image is bright, however large it is shown."""
    y, x = np.mgrid[:96, :96] - 47.5
    disc = y**2 + x**2 < 15**2
    shown = sampler([(1000 * disc).astype(np.uint16)], [disc], crop=64, zoom=2)
    areas = []
    for epoch in range(60):
        ((crop, target),) = shown.epoch(epoch)
        assert crop.shape == target.shape == (1, 1, 64, 64) and set(target.unique().tolist()) <= {0, 1}
        bright = crop > (crop.min() + crop.max()) / 2
        assert (bright.float() - target).abs().mean() < 0.02
        areas.append(target.sum().item())
    assert min(areas) < 0.4 * disc.sum() and max(areas) > 2.5 * disc.sum()


@pytest.mark.parametrize("factor", [0.25, 0.5, 1, 2])
def test_images_are_magnified_each_by_its_own_factor(factor):
    """A window that is larger than its image goes on as its reflection: a bar in the middle stays as wide."""
    bar = np.zeros((64, 64), bool)
    bar[:, 20:44] = True
    other = np.zeros((64, 64), bool)
    shown = sampler([(1000 * bar).astype(np.uint16)] * 2, [bar, other], crop=32, magnifications=[factor, 1])
    crops, truths = next(iter(shown.centre_crops()))
    assert crops.shape == truths.shape == (2, 1, 32, 32) and not truths[1].any()
    row = truths[0, 0, 16].numpy()
    width = min(32, 24 * factor)
    assert row[16 - round(width / 2) : 16 + round(width / 2)].all()
    outside = row[: max(0, 16 - round(width / 2))]
    assert not outside[-2:].any()
    bright = crops[0] > (crops[0].min() + crops[0].max()) / 2
    assert width == 32 or (bright.float() - truths[0]).abs().mean() < 0.1


def test_crops_are_normalised_as_the_network_wants_them():
    image = np.random.default_rng(0).integers(0, 4000, (8, 8)).astype(np.uint16)
    ((crop, _),) = sampler([image], normalization="percentile").centre_crops()
    np.testing.assert_array_equal(crop[0, 0].numpy(), normalize(image, "percentile"))


def test_groups_count_alike_however_many_images_they_have():
    images = [np.full((8, 8), value, np.uint8) for value in range(10)]
    targets = [np.full((8, 8), row == 9) for row in range(10)]
    balanced = sampler(images, targets, groups=["many"] * 9 + ["one"])
    share = np.mean([target[:, 0, 0, 0].mean() for epoch in range(100) for _, target in balanced.epoch(epoch)])
    assert 0.4 < share < 0.6


def test_photometric_changes_the_image_and_not_the_truth():
    images = [numbered((20, 20), start) for start in range(6)]
    (plain, truth), (changed, same) = (next(iter(sampler(images, photometric=p).epoch(0))) for p in (False, True))
    assert torch.equal(truth, same) and changed.isfinite().all()
    assert all(not torch.equal(a, b) for a, b in zip(plain, changed, strict=True))
    again, _ = next(iter(sampler(images, photometric=True).epoch(0)))
    assert torch.equal(changed, again)
    constant, _ = next(iter(sampler([np.full((8, 8), 3, np.uint8)], photometric=True).epoch(0)))
    assert constant.isfinite().all()


class CudaIndexing(TorchDispatchMode):
    """Refuses what CUDA does: to index uint16 pixels by a tensor."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten.index.Tensor or args[0].dtype is not torch.uint16
        return function(*args, **(kwargs or {}))


def test_an_image_smaller_than_a_crop_is_reflected_as_a_gpu_can():
    image = numbered((6, 12))
    expected = np.pad(normalize(image), ((1, 1), (0, 0)), mode="symmetric")[:, 2:10]
    with CudaIndexing():
        ((crop, _),) = sampler([image]).centre_crops()
    np.testing.assert_array_equal(crop[0, 0].numpy(), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_crops_are_the_same_on_a_gpu():
    images = [numbered((6, 12)), numbered((20, 20)), numbered((30, 9))]
    settings = {"augmentation": "dihedral", "photometric": True}
    here, there = (list(sampler(images, device=device, **settings).epoch(0)) for device in ("cpu", "cuda"))
    for (crops, truths), (on_gpu, truths_on_gpu) in zip(here, there, strict=True):
        assert on_gpu.is_cuda and torch.equal(truths, truths_on_gpu.cpu())
        torch.testing.assert_close(crops, on_gpu.cpu(), rtol=1e-4, atol=1e-4)
