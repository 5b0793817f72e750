"""Seconds of a training step of the simplified U-Net built from escnn's layers: what the project's own layers save.

The network is that of equinuclei/networks/simplified_unet.py with the same number of regular fields at every
level, in the same places. It runs in escnn's own environment, so the layers are all that it compares.

    python training_step.py --group p4 [--widths 4 8 16 32 64] [--size 128] [--batch 8] [--rounds 5] [--threads 2]
    python training_step.py --group p4 --layer

Prints one line of JSON: `build_s` (seconds to build and initialise), `step_s` (median), `steps_s`, `parameters`. With
`--layer` a step is forward and backward of one 3 x 3 convolution of 16 regular fields.

Two things differ from the project's network. escnn's default filters are smooth: a 3 x 3 kernel has 6 parameters
instead of 9. And its default basis is empty for kernel 2, so the transposed convolutions get theirs by argument.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable

import torch
from escnn import gspaces, nn
from torch.nn import functional

SPACES = {"p4": gspaces.rot2dOnR2, "p4m": gspaces.flipRot2dOnR2}
LAYER_FIELDS = 16


def regular(space: gspaces.GSpace, fields: int) -> nn.FieldType:
    return nn.FieldType(space, fields * [space.regular_repr])


def level(in_type: nn.FieldType, out_type: nn.FieldType) -> nn.SequentialModule:
    return nn.SequentialModule(
        nn.R2Conv(in_type, out_type, 3, padding=1),
        nn.ReLU(out_type, inplace=True),
        nn.R2Conv(out_type, out_type, 3, padding=1),
        nn.ReLU(out_type, inplace=True),
    )


def upsampling(in_type: nn.FieldType, out_type: nn.FieldType) -> nn.R2ConvTransposed:
    """Transposed 2 x 2 convolution with stride 2. All four taps lie on the ring of radius sqrt(1/2)."""
    basis = {"rings": [0.5**0.5], "sigma": [0.1], "frequencies_cutoff": lambda radius: 2}
    return nn.R2ConvTransposed(in_type, out_type, 2, stride=2, **basis)


class SimplifiedUNet(torch.nn.Module):
    """Widths are regular fields per level, the last the bottleneck's."""

    def __init__(self, space: gspaces.GSpace, widths: list[int]) -> None:
        super().__init__()
        self.image_type = nn.FieldType(space, [space.trivial_repr])
        types = [regular(space, width) for width in widths]
        *outer, bottleneck = types
        encoder = itertools.pairwise([self.image_type, *outer])
        self.encoder = torch.nn.ModuleList(level(above, here) for above, here in encoder)
        self.pooling = torch.nn.ModuleList(nn.PointwiseMaxPool2D(here, 2) for here in outer)
        self.bottleneck = level(outer[-1], bottleneck)
        pairs = list(itertools.pairwise(types))
        self.upsampling = torch.nn.ModuleList(upsampling(below, here) for here, below in pairs)
        self.decoder = torch.nn.ModuleList(level(here + here, here) for here, _ in pairs)
        self.head = nn.R2Conv(outer[0], regular(space, 1), 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.image_type(image)
        skips = []
        for convolutions, pool in zip(self.encoder, self.pooling, strict=True):
            x = convolutions(x)
            skips.append(x)
            x = pool(x)
        x = self.bottleneck(x)
        decoder = zip(self.upsampling, self.decoder, skips, strict=True)
        for upsample, convolutions, skip in reversed(list(decoder)):
            x = convolutions(nn.tensor_directsum([upsample(x), skip]))
        return self.head(x).tensor.mean(dim=1, keepdim=True)


def network_step(network: SimplifiedUNet, batch: int, size: int) -> Callable[[], None]:
    """A function that makes one step of Adam on random crops."""
    optimizer = torch.optim.Adam(network.parameters())
    images = torch.randn(batch, 1, size, size)
    targets = (images > 1).float()

    def step() -> None:
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(network(images), targets).backward()
        optimizer.step()

    return step


def layer_step(layer: nn.R2Conv, batch: int, size: int) -> Callable[[], None]:
    """A function that goes forward and backward through one layer, to its weights and its input."""
    features = torch.randn(batch, layer.in_type.size, size, size, requires_grad=True)
    upstream = torch.randn(batch, layer.out_type.size, size, size)

    def step() -> None:
        layer.zero_grad()
        features.grad = None
        layer(layer.in_type(features)).tensor.backward(upstream)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", default="p4", choices=SPACES)
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--size", type=int, help="pixels along each axis: 128, with --layer 64")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layer", action="store_true", help="one convolution instead of the network")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    size = arguments.size or (64 if arguments.layer else 128)
    space = SPACES[arguments.group](4)
    start = time.perf_counter()
    if arguments.layer:
        fields = regular(space, LAYER_FIELDS)
        module = nn.R2Conv(fields, fields, 3, padding=1)
    else:
        module = SimplifiedUNet(space, arguments.widths)
    built = time.perf_counter()
    step = (layer_step if arguments.layer else network_step)(module, arguments.batch, size)
    step()  # The first step allocates memory and Adam's state.
    seconds = []
    for _ in range(arguments.rounds):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    report = {
        "build_s": built - start,
        "step_s": statistics.median(seconds),
        "steps_s": seconds,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
