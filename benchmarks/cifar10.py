"""GDenseNetClassifier on CIFAR-10 in grey: the groups at equal parameters, on test images upright and turned.

FOLDER holds the files of the binary version of CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html), unpacked:
data_batch_1.bin ... data_batch_5.bin and test_batch.bin. Nothing is downloaded. There is no augmentation: what a
network knows of turned images, it knows by its group. Printed per group are

    parameters   trainable ones
    seconds      of the training
    upright      accuracy on the test images
    turned       accuracy on the test images turned by 90 degrees
    unchanged    share of test images that have the same predicted class at 0, 90, 180 and 270 degrees

    python -m benchmarks.cifar10 FOLDER [--group p4] [--widths 16 24 32 48] [--epochs 10] [--threads N] [--seed 0]
                                        [--images 50000]

Widths are those of the trivial group, one per level. They are divided by the root of the order of the group, so that
all groups have about the same number of parameters.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from equinuclei.errors import InputError
from equinuclei.networks.gdensenet import GDenseNetClassifier
from equinuclei.symmetry import Group

TRAINING_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
IMAGES_PER_FILE = 10_000
SIDE, CLASSES = 32, 10
RECORD_BYTES = 1 + 3 * SIDE * SIDE
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, of red, green and blue


def read_cifar10(folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test set, each as grey images [N, 1, 32, 32] float32 and labels [N] int64.

    Grey values are standardised by mean and standard deviation of all training images. Raises InputError if a file is
    missing, has another size than CIFAR-10's, or a label above 9.
    """
    problems = []
    expected = IMAGES_PER_FILE * RECORD_BYTES
    for name in (*TRAINING_FILES, TEST_FILE):
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != expected:
            problems.append(f"{name} has {path.stat().st_size:,} bytes, not {expected:,}")
    if problems:
        raise InputError(
            f"{folder}: {', '.join(problems)}; give the folder `cifar-10-batches-bin` of the unpacked binary version"
        )
    parts = [_read_batch(folder / name) for name in TRAINING_FILES]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    mean, deviation = images.mean(dtype=np.float64), images.std(dtype=np.float64)
    test_images, test_labels = _read_batch(folder / TEST_FILE)

    def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        standardised = ((images - mean) / deviation).astype(np.float32)
        return torch.from_numpy(standardised)[:, None], torch.from_numpy(labels)

    return tensors(images, labels), tensors(test_images, test_labels)


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Grey images [N, 32, 32] float32 of 0 to 255, and labels [N] int64, of one file."""
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, RECORD_BYTES)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= CLASSES:
        raise InputError(f"{path}: has a label {labels.max()}, and CIFAR-10's are 0 to {CLASSES - 1}; fetch it again")
    colours = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return np.einsum("c,ncyx->nyx", LUMA, colours, dtype=np.float32), labels


def equal_widths(group: Group, widths: Sequence[int]) -> list[int]:
    """Widths that give a group about the parameters that `widths` give the trivial one."""
    return [max(1, round(width / math.sqrt(group.order))) for width in widths]


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    *,
    batch: int = 64,
    peak: float = 1e-2,
    told: Callable[[str], None] = lambda line: None,
) -> None:
    """Minimise the cross entropy with Adam and a one-cycle learning rate, in the order of torch's random state."""
    optimizer = torch.optim.Adam(network.parameters())
    batches = math.ceil(len(images) / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=epochs * batches)
    network.train()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for chosen in torch.randperm(len(images)).split(batch):
            loss = functional.cross_entropy(network(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        told(f"epoch {epoch} of {epochs}: loss {total / len(images):.3f}")


@torch.no_grad()
def classify(network: nn.Module, images: Tensor, batch: int = 250) -> Tensor:
    """The predicted class of every image, [N] int64, in evaluation mode."""
    network.eval()
    return torch.cat([network(part).argmax(dim=1) for part in images.split(batch)])


def run(arguments: argparse.Namespace) -> None:
    """Train and score the networks, and print a line for each."""
    _check(arguments)
    (images, labels), (test_images, test_labels) = read_cifar10(arguments.folder)
    if arguments.images > len(images):
        raise InputError(f"--images {arguments.images}: CIFAR-10 has {len(images)} training images")
    images, labels = images[: arguments.images], labels[: arguments.images]
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    print(f"{len(images)} training images, {arguments.epochs} epochs, {torch.get_num_threads()} threads")
    print(f"{'group':8s} {'widths':20s} {'parameters':>10s} {'seconds':>9s} {'upright':>8s} {'turned':>8s} unchanged")
    for group in Group if arguments.group is None else [Group(arguments.group)]:
        torch.manual_seed(arguments.seed)
        widths = equal_widths(group, arguments.widths)
        network = GDenseNetClassifier(group, widths, CLASSES)
        parameters = sum(p.numel() for p in network.parameters())
        start = time.perf_counter()
        train(network, images, labels, arguments.epochs, told=lambda line, g=group: print(g, line, file=sys.stderr))
        seconds = time.perf_counter() - start
        predicted = [classify(network, test_images.rot90(turns, (-2, -1))) for turns in range(4)]
        upright, turned = ((p == test_labels).double().mean().item() for p in predicted[:2])
        unchanged = (torch.stack(predicted) == predicted[0]).all(dim=0).double().mean().item()
        shown = " ".join(str(width) for width in widths)
        print(f"{group:8s} {shown:20s} {parameters:10d} {seconds:9.1f} {upright:8.2%} {turned:8.2%} {unchanged:9.2%}")


def _check(arguments: argparse.Namespace) -> None:
    """Raise InputError for options out of range."""
    for name in ("epochs", "images", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: must be at least 1")
    levels = int(math.log2(SIDE)) + 1
    if min(arguments.widths) < 1 or len(arguments.widths) > levels:
        raise InputError(f"--widths {arguments.widths}: must be 1 to {levels} positive numbers")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the binary version of CIFAR-10, unpacked")
    parser.add_argument("--group", choices=[str(group) for group in Group], help="this one alone")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 24, 32, 48], help="of the trivial group")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, help="of torch; its own choice if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=50_000, help="the first so many training images")
    try:
        run(parser.parse_args(argv))
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
