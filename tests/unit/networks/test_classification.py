"""GDenseNet's classifier: invariant untrained, and able to learn what intensity does not tell. CIFAR-10's benchmark."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.networks.gdensenet import GDenseNetClassifier
from equinuclei.networks.layers import GroupMeanConv2d
from equinuclei.symmetry import Group

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "cifar10.py"
TOLERANCES = {torch.float64: 1e-12, torch.float32: 5e-5}


@pytest.fixture(scope="module")
def cifar10():
    spec = importlib.util.spec_from_file_location("cifar10", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def one_thread():
    """Training repeats itself bit for bit at a fixed number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def randomize(network):
    """Random biases and batch-norm statistics too, which new networks have at 0 and 1."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.normal_()
    return network.eval()


def moved(images, group):
    """The images [N, 1, H, W] under every element, by what the group is said to be: quarter turns, and mirrors."""
    turned = [torch.rot90(images, turns, (-2, -1)) for turns in range(4)]
    return turned if group == "p4" else turned + [image.flip(-1) for image in turned]


@torch.no_grad()
def exact_logits(network, images):
    return network.exact(images)


@torch.no_grad()
def errors(network, images):
    """Of every moved image, relative to the largest logit."""
    logits = network(images)
    return [((network(m) - logits).abs().max() / logits.abs().max()).item() for m in moved(images, network.group)]


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["p4", "p4m"]),
    st.lists(st.integers(1, 4), min_size=2, max_size=4),
    st.integers(2, 10),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_an_untrained_classifier_is_invariant(group, widths, classes, rows, columns, seed):
    torch.manual_seed(seed)
    network = randomize(GDenseNetClassifier(group, widths, classes))
    size = rows * network.input_multiple, columns * network.input_multiple
    names = {g.name for g in Group(group).elements}
    images = torch.randn(2, 1, *size, dtype=torch.float64)
    for dtype, tolerance in TOLERANCES.items():
        network, images = network.to(dtype), images.to(dtype)
        measured = network.check_equivariance(size, dtype=dtype)
        assert measured.keys() == names and max(measured.values()) <= tolerance
        assert set(network.check_equivariance(size, dtype=dtype, exact=True).values()) == {0}
        # The same without the library's own check and its elements.
        measured = errors(network, images)
        assert len(measured) == len(names) and max(measured) <= tolerance
        logits = exact_logits(network, images)
        assert logits.shape == (2, classes) and logits.isfinite().all()
        assert all(torch.equal(exact_logits(network, m), logits) for m in moved(images, group))


@pytest.mark.parametrize("group", Group)
def test_the_logits_tell_images_apart_and_are_those_of_exact_mode(group):
    """A constant would be invariant too."""
    torch.manual_seed(0)
    network = randomize(GDenseNetClassifier(group, (4, 4, 4), 3)).double()
    images = torch.randn(5, 1, 16, 24, dtype=torch.double)
    with torch.no_grad():
        logits = network(images)
    assert logits.shape == (5, 3) and logits.std(dim=0).min() > 1e-3 * logits.abs().max()
    torch.testing.assert_close(exact_logits(network, images), logits, rtol=0, atol=1e-12 * logits.abs().max().item())


def test_a_plain_classifier_is_not_invariant():
    torch.manual_seed(0)
    network = randomize(GDenseNetClassifier("trivial", (8, 8, 8), 3)).double()
    elements = Group.P4M.elements
    assert min(list(network.check_equivariance((16, 24), elements=elements).values())[1:]) > 1e-3
    assert min(errors(network, torch.randn(2, 1, 16, 24, dtype=torch.double))[1:]) > 1e-3


def test_what_cannot_be_classified_is_refused():
    with pytest.raises(ValueError, match="multiples of 4, not \\(18, 24\\)"):
        GDenseNetClassifier("p4", (2, 2, 2), 3)(torch.zeros(1, 1, 18, 24))
    for widths, classes in (([], 2), ([2, 0], 2), ([2, 2], 0)):
        with pytest.raises(ValueError, match="expected positive widths and classes"):
            GDenseNetClassifier("p4", widths, classes)


@pytest.mark.parametrize("group", ["p4", "p4m"])
def test_the_checks_see_a_head_without_the_mean_over_the_group(group):
    class OfTheIdentity(GroupMeanConv2d):
        def forward(self, features):
            return super(GroupMeanConv2d, self).forward(features).unflatten(1, (self.group.order, -1))[:, 0]

    torch.manual_seed(0)
    network = GDenseNetClassifier(group, (4, 4, 4), 3)
    network.head = OfTheIdentity(network.group, network.encoder.blocks[-1], 3, kernel_size=1)
    randomize(network).double()
    assert min(list(network.check_equivariance((16, 24)).values())[1:]) > 1e-3
    assert min(errors(network, torch.randn(2, 1, 16, 24, dtype=torch.double))[1:]) > 1e-3


SIDE = 32
WIDTHS = {"trivial": (8, 8, 8), "p4": (4, 4, 4), "p4m": (3, 3, 3)}


def textures(count, seed):
    """Images [N, 1, 32, 32] float32 of blobs and of stripes of any orientation, and labels [N]: 0 blobs, 1 stripes.

    Filtered noise that differs by direction alone: the band of wavelengths is the same, and so are the grey values,
    which are given to the pixels of every image by their ranks.
    """
    generator = np.random.default_rng(seed)
    labels = generator.permutation(count) % 2
    y, x = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    across = generator.uniform(0, np.pi, count)[:, None, None]
    along_one_direction = np.exp(-((np.sin(np.arctan2(y, x) - across) / 0.2) ** 2))
    band = np.exp(-(((np.hypot(y, x) - 0.15) / 0.03) ** 2))
    spectrum = band * np.where(labels[:, None, None] == 1, along_one_direction, 1)
    waves = np.fft.ifft2(np.fft.fft2(generator.standard_normal((count, SIDE, SIDE))) * spectrum).real
    ranks = waves.reshape(count, -1).argsort(axis=1).argsort(axis=1)
    grey = np.linspace(-np.sqrt(3), np.sqrt(3), SIDE**2, dtype=np.float32)  # of variance 1
    return torch.from_numpy(grey[ranks]).view(count, 1, SIDE, SIDE), torch.from_numpy(labels)


@pytest.fixture(scope="module")
def toy():
    """Training and held-out images with their labels."""
    return textures(5000, seed=1), textures(500, seed=2)


def test_intensity_and_linear_models_do_not_tell_the_classes_apart(toy):
    (images, labels), (held_out, truth) = toy
    assert 0.45 < truth.double().mean() < 0.55
    pixels, held_out = images.flatten(1).double().numpy(), held_out.flatten(1).double().numpy()
    assert (np.sort(pixels) == np.sort(pixels[0])).all() and (np.sort(held_out) == np.sort(pixels[0])).all()
    signs = 2 * labels.numpy() - 1
    for ridge in (1, 100, 10_000):
        # No intercept: the mean grey value of every image is 0.
        weights = np.linalg.solve(pixels.T @ pixels + ridge * np.eye(pixels.shape[1]), pixels.T @ signs)
        assert ((held_out @ weights > 0) == truth.numpy()).mean() < 0.6


@pytest.mark.parametrize("group", ["trivial", "p4", pytest.param("p4m", marks=pytest.mark.nightly)])
def test_a_classifier_learns_and_keeps_its_class_under_rotation(cifar10, one_thread, toy, group):
    (images, labels), (held_out, truth) = toy
    torch.manual_seed(0)
    network = GDenseNetClassifier(group, WIDTHS[group], classes=2)
    cifar10.train(network, images[:512], labels[:512], epochs=4, batch=32)  # 64 steps
    predicted = cifar10.classify(network, held_out)
    assert (predicted == truth).double().mean() > 0.95
    some = held_out[:100]
    logits = exact_logits(network, some)
    assert torch.equal(logits.argmax(dim=1), predicted[:100])
    for turned in moved(some, group)[1:]:
        turned_logits = exact_logits(network, turned)
        if group == "trivial":
            assert (turned_logits != logits).any()
        else:
            assert torch.equal(turned_logits.argmax(dim=1), logits.argmax(dim=1))
            assert torch.equal(turned_logits, logits)


def write_folder(folder, images_per_file, seed=0):
    """Files of random records. Returns labels [6, N] and colours [6, N, 3, 32, 32], the test set's last."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, (6, images_per_file), dtype=np.uint8)
    colours = generator.integers(0, 256, (6, images_per_file, 3, 32, 32), dtype=np.uint8)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    folder.mkdir(exist_ok=True)
    for name, some_labels, some_colours in zip(names, labels, colours, strict=True):
        records = [bytes([label]) + colour.tobytes() for label, colour in zip(some_labels, some_colours, strict=True)]
        (folder / name).write_bytes(b"".join(records))
    return labels, colours


@pytest.fixture
def small(cifar10, monkeypatch):
    """The benchmark, for files of 8 images in place of 10,000."""
    monkeypatch.setattr(cifar10, "IMAGES_PER_FILE", 8)
    return cifar10


def test_the_reader_gives_grey_images_and_their_labels(tmp_path, small):
    labels, colours = write_folder(tmp_path, 8)
    (images, image_labels), (test_images, test_labels) = small.read_cifar10(tmp_path)
    assert images.shape == (40, 1, 32, 32) and test_images.shape == (8, 1, 32, 32)
    assert images.dtype == test_images.dtype == torch.float32
    assert image_labels.dtype == torch.int64
    assert (image_labels.numpy() == labels[:5].ravel()).all() and (test_labels.numpy() == labels[5]).all()
    grey = 0.299 * colours[:, :, 0] + 0.587 * colours[:, :, 1] + 0.114 * colours[:, :, 2]
    grey = (grey - grey[:5].mean()) / grey[:5].std()
    np.testing.assert_allclose(images[:, 0], grey[:5].reshape(-1, 32, 32), atol=1e-5)
    np.testing.assert_allclose(test_images[:, 0], grey[5], atol=1e-5)


def test_a_folder_that_is_not_cifar10_is_told_in_one_message(tmp_path, small, capsys):
    write_folder(tmp_path, 8)
    (tmp_path / "data_batch_3.bin").unlink()
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073 * 8 - 1))
    with pytest.raises(SystemExit) as stopped:
        small.main([str(tmp_path)])
    told = capsys.readouterr().err
    assert stopped.value.code == 1
    assert "data_batch_3.bin is missing" in told and "test_batch.bin has 24,583 bytes, not 24,584" in told
    write_folder(tmp_path, 8)
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) * 3073 * 8)
    with pytest.raises(InputError, match=r"test_batch\.bin: has a label 10"):
        small.read_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--epochs", "0"], "--epochs 0"),
        (["--widths", "4", "0"], "--widths"),
        (["--widths", *"1111111"], "--widths"),
        (["--images", "41"], "has 40 training images"),
    ],
)
def test_options_out_of_range_are_told(tmp_path, small, capsys, options, told):
    write_folder(tmp_path, 8)
    with pytest.raises(SystemExit, match="1"):
        small.main([str(tmp_path), *options])
    assert told in capsys.readouterr().err


def test_the_script_without_its_files_ends_without_a_traceback(tmp_path):
    done = subprocess.run([sys.executable, BENCHMARK, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"Error: {tmp_path}: data_batch_1.bin is missing, ")
    assert done.stderr.count("\n") == 1


def test_the_benchmark_prints_a_line_per_group(tmp_path, small, capsys):
    write_folder(tmp_path, 8)
    options = ["--widths", "4", "5", "--epochs", "2", "--images", "30"]
    small.main([str(tmp_path), *options])
    first, _, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("30 training images, 2 epochs")
    assert [line.split()[0] for line in lines] == ["trivial", "p4", "p4m"]
    assert [line.split()[1:3] for line in lines] == [["4", "5"], ["2", "2"], ["1", "2"]]
    # Invariant up to rounding, so a class changes only where two logits are equal.
    assert [line.split()[-1] for line in lines[1:]] == ["100.00%"] * 2
    small.main([str(tmp_path), *options, "--group", "p4"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["p4"]


def test_equal_widths_give_about_equal_parameters(cifar10):
    def parameters(group):
        network = GDenseNetClassifier(group, cifar10.equal_widths(group, [16, 24, 32, 48]), 10)
        return sum(p.numel() for p in network.parameters())

    assert parameters(Group.P4) == pytest.approx(parameters(Group.TRIVIAL), rel=0.1)
    assert parameters(Group.P4M) == pytest.approx(parameters(Group.TRIVIAL), rel=0.1)
