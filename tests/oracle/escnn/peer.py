"""escnn's half of the oracle test: random equivariant layers of escnn, and what they compute, as one .npz of arrays.

Runs in escnn's own environment, started by test_escnn.py; the arrays are in escnn's layout throughout, so that all of
the translation into ours is in that one file.

    python peer.py arrays.npz p4-group-3-complete p4m-composition-5-default p4-action ...

A case is GROUP-LAYER-KERNEL-BASIS, or GROUP-action. Arrays are named CASE-array.
"""

import math
import sys
from collections.abc import Iterator

import numpy as np
import torch
from escnn import gspaces, nn

SPACES = {"p4": gspaces.rot2dOnR2(4), "p4m": gspaces.flipRot2dOnR2(4)}
BATCH, IN_FIELDS, OUT_FIELDS, SIZE = 2, 2, 3, 9


def use_doubles() -> None:
    """Let escnn compute in float64 throughout.

    It samples its filters and pools in a dtype that it asks torch for by name; 1e-7 would leave room for mistakes.
    """
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64


def basis_parameters(kernel_size: int, basis: str) -> dict:
    """Arguments of escnn for a filter basis.

    `default` is escnn's choice: rings and low frequencies, smooth filters that span a part of all equivariant ones.
    `complete` has a ring through every tap, too narrow to reach a tap at another radius, and all frequencies that the
    at most eight taps of a ring tell apart: it spans all equivariant filters.
    """
    if basis == "default":
        return {}
    offsets = [abs(i - (kernel_size - 1) / 2) for i in range(kernel_size)]
    rings = sorted({math.hypot(x, y) for x in offsets for y in offsets})
    return {"rings": rings, "sigma": [0.02] * len(rings), "frequencies_cutoff": lambda radius: 4}


def fields(space: gspaces.GSpace, count: int, *, regular: bool) -> nn.FieldType:
    return nn.FieldType(space, count * [space.regular_repr if regular else space.trivial_repr])


def random_layer(layer: str, in_type: nn.FieldType, out_type: nn.FieldType, kernel_size: int, basis: str) -> nn.R2Conv:
    """A layer with random coefficients and biases."""
    # Ours has kernel 2 and stride 2 and no padding; a convolution's padding keeps the size.
    geometry = {"stride": 2} if layer == "transposed" else {"padding": kernel_size // 2}
    kind = nn.R2ConvTransposed if layer == "transposed" else nn.R2Conv
    options = {**geometry, **basis_parameters(kernel_size, basis)}
    module = kind(in_type, out_type, kernel_size, initialize=False, **options)
    torch.nn.init.normal_(module.weights)
    torch.nn.init.normal_(module.bias)
    return module


def parameters(module: nn.R2Conv) -> dict[str, torch.Tensor]:
    """The dense weight and bias of the ordinary convolution that the layer is."""
    kernel, bias = module.expand_parameters()
    return {"kernel": kernel, "bias": bias}


def random_input(in_type: nn.FieldType) -> nn.GeometricTensor:
    return in_type(torch.randn(BATCH, in_type.size, SIZE, SIZE))


def one_layer(space: gspaces.GSpace, layer: str, kernel_size: int, basis: str) -> dict[str, torch.Tensor]:
    in_type = fields(space, IN_FIELDS, regular=layer != "lifting")
    module = random_layer(layer, in_type, fields(space, OUT_FIELDS, regular=True), kernel_size, basis)
    x = random_input(in_type)
    # The identity's row of every basis element of a single pair of fields: what the layer can represent at all.
    single = random_layer(layer, in_type.index_select([0]), fields(space, 1, regular=True), kernel_size, basis)
    expansion = single.basisexpansion
    span = torch.stack([expansion(coefficients)[0] for coefficients in torch.eye(expansion.dimension())])
    return {**parameters(module), "input": x.tensor, "output": module(x).tensor, "span": span.flatten(1)}


def composition(space: gspaces.GSpace, kernel_size: int, basis: str) -> dict[str, torch.Tensor]:
    """Lifting, ReLU, group convolution, then the mean and the maximum over the group."""
    image_type = fields(space, IN_FIELDS, regular=False)
    hidden_type, out_type = fields(space, OUT_FIELDS, regular=True), fields(space, IN_FIELDS, regular=True)
    lifting = random_layer("lifting", image_type, hidden_type, kernel_size, basis)
    convolution = random_layer("group", hidden_type, out_type, kernel_size, basis)
    x = random_input(image_type)
    y = convolution(nn.ReLU(hidden_type)(lifting(x)))
    mean = y.tensor.unflatten(1, (IN_FIELDS, space.fibergroup.order())).mean(dim=2)
    return {
        **{f"lifting_{name}": array for name, array in parameters(lifting).items()},
        **{f"group_{name}": array for name, array in parameters(convolution).items()},
        "input": x.tensor,
        "mean": mean,
        "max": nn.GroupPooling(out_type)(y).tensor,
    }


def action(space: gspaces.GSpace) -> dict[str, torch.Tensor]:
    """Regular fields, and those fields transformed by every element in the order of escnn's regular representation."""
    x = random_input(fields(space, IN_FIELDS, regular=True))
    return {"input": x.tensor, "moved": torch.stack([x.transform(g).tensor for g in space.fibergroup.elements])}


def arrays(case: str) -> Iterator[tuple[str, np.ndarray]]:
    group, layer, *rest = case.split("-")
    space = SPACES[group]
    if layer == "action":
        results = action(space)
    else:
        kernel_size, basis = int(rest[0]), rest[1]
        results = (
            composition(space, kernel_size, basis)
            if layer == "composition"
            else one_layer(space, layer, kernel_size, basis)
        )
    for name, tensor in results.items():
        yield f"{case}-{name}", tensor.detach().numpy()


def main() -> None:
    path, *cases = sys.argv[1:]
    use_doubles()
    torch.set_num_threads(1)  # The arrays are tiny: threads only wait for each other.
    torch.manual_seed(0)
    np.savez(path, **dict(named for case in cases for named in arrays(case)))


if __name__ == "__main__":
    main()
