"""Group layers against `escnn` (Weiler & Cesa): same weights, same outputs.

escnn derives its filters by representation theory, from the steerability constraint, and shares no idea with our bank
of turned and mirrored copies. Where both give the same dense kernel, the bank, the order of the elements, the sense of
rotation and the axis of reflection are right. escnn lives in an environment of its own and is run as a process.

The direction is escnn -> ours: a random escnn layer is expanded to its dense kernel, the rows of the identity are our
weights, and our layer has to make all other rows of them.

The two notations:

- escnn's elements are r^k f^j: the reflection first, then k counterclockwise quarter turns, as ours. Its regular
  representation has e, r, r^2, r^3, f, rf, r^2f, r^3f in this order, as `Group.elements`.
- escnn's x points along the last image axis and its y against the last but one, so r is `rot90` by +1 turn. f reflects
  at the vertical axis, so it flips the last image axis.
- escnn's regular representation acts by rho(g) e_h = e_gh, as does (g.F)[h] = g.(F[g^-1 h]).
- Only the layout of channels differs: escnn has the elements of field 0, then those of field 1 (c*G + h); ours is
  G-major (h*C + c).
"""

import json
import os
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from equinuclei.networks.build import build_model
from equinuclei.networks.layers import GroupConv2d, GroupConvTranspose2d, LiftingConv2d
from equinuclei.specs import ModelSpec
from equinuclei.symmetry import Element, Group, act_on_features

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("ESCNN_PYTHON", ROOT / ".venv-escnn" / "bin" / "python"))
SCRIPTS = Path(__file__).with_name("escnn")

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason=f"no {PYTHON}: `make escnn` builds it, or set ESCNN_PYTHON to a Python with escnn"
)

GROUPS = ("p4", "p4m")
# escnn's default basis is a part of all equivariant filters (none for kernel 2), the complete one has them all.
CONVOLUTIONS = [
    *("-".join(case) for case in product(GROUPS, ("lifting", "group"), "35", ("default", "complete"))),
    *(f"{group}-transposed-2-complete" for group in GROUPS),
]
COMPOSITIONS = ["-".join(case) for case in product(GROUPS, ("composition",), "35", ("default", "complete"))]
LAYERS = {"lifting": LiftingConv2d, "group": GroupConv2d, "transposed": GroupConvTranspose2d}
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """What escnn has computed of an array of a case."""
    path = tmp_path_factory.mktemp("escnn") / "arrays.npz"
    cases = [*CONVOLUTIONS, *COMPOSITIONS, *(f"{group}-action" for group in GROUPS)]
    # -I keeps this environment's variables and folders out of the other interpreter.
    subprocess.run([PYTHON, "-I", SCRIPTS / "peer.py", path, *cases], check=True, timeout=600)
    with np.load(path, allow_pickle=False) as arrays:
        loaded = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return lambda case, name: loaded[f"{case}-{name}"]


def escnn_position(element: Element) -> int:
    """Position of an element in escnn's regular representation: r^k f^j stands at 4j + k."""
    return 4 * element.mirrored + element.quarter_turns


def to_group_major(tensor: torch.Tensor, group: Group, axis: int) -> torch.Tensor:
    """An axis of regular fields in our order."""
    channels = tensor.shape[axis] // group.order
    index = [c * group.order + escnn_position(h) for h in group.elements for c in range(channels)]
    return tensor.index_select(axis, torch.tensor(index))


def translated(kind: str, group: Group, kernel: torch.Tensor, bias: torch.Tensor):
    """Our layer with the weights of escnn's, and escnn's dense kernel and bias in our order of channels."""
    # The weight of a transposed convolution has the input channels first.
    out_axis, in_axis = (1, 0) if kind == "transposed" else (0, 1)
    kernel = to_group_major(kernel, group, out_axis)
    if kind != "lifting":
        kernel = to_group_major(kernel, group, in_axis)
    bias = to_group_major(bias, group, 0)
    stack = 1 if kind == "lifting" else group.order
    rows = kernel.transpose(0, 1) if kind == "transposed" else kernel
    identity = rows.unflatten(1, (stack, -1)).unflatten(0, (group.order, -1))[0]  # [C_out, S, C_in, k, k]
    weight = identity.transpose(1, 2)
    out_channels, in_channels = weight.shape[:2]
    size = {} if kind == "transposed" else {"kernel_size": weight.shape[-1]}
    layer = LAYERS[kind](group, in_channels, out_channels, **size).double()
    layer.load_state_dict({"weight": weight, "bias": bias[:out_channels]})
    return layer, kernel, bias


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert actual.dtype == expected.dtype == torch.double
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("name", GROUPS)
def test_elements_act_alike(peer, name):
    group = Group(name)
    features = to_group_major(peer(f"{name}-action", "input"), group, 1)
    moved = to_group_major(peer(f"{name}-action", "moved"), group, 2)
    for g in group.elements:
        assert_close(act_on_features(g, features, group), moved[escnn_position(g)])


@pytest.mark.parametrize("case", CONVOLUTIONS)
@torch.no_grad()
def test_layer(peer, case):
    name, kind, *_ = case.split("-")
    group = Group(name)
    layer, kernel, bias = translated(kind, group, peer(case, "kernel"), peer(case, "bias"))
    assert (layer.plain_weight() - kernel).abs().max() <= TOLERANCE
    assert (layer.bank_bias() - bias).abs().max() <= TOLERANCE
    features = peer(case, "input")
    if kind != "lifting":
        features = to_group_major(features, group, 1)
    assert_close(layer(features), to_group_major(peer(case, "output"), group, 1))


@pytest.mark.parametrize("case", [case for case in CONVOLUTIONS if case.endswith("-complete")])
def test_complete_basis_is_as_rich_as_our_weights(peer, case):
    """Both families have one dimension per weight of ours: neither has a filter that the other lacks."""
    name, kind, kernel_size, _ = case.split("-")
    weights_per_pair = LAYERS[kind](Group(name), 1, 1, *() if kind == "transposed" else (int(kernel_size),)).weight
    assert torch.linalg.matrix_rank(peer(case, "span"), rtol=1e-6) == weights_per_pair.numel()


@pytest.mark.parametrize("case", COMPOSITIONS)
@torch.no_grad()
def test_composition(peer, case):
    group = Group(case.split("-")[0])
    lifting, _, _ = translated("lifting", group, peer(case, "lifting_kernel"), peer(case, "lifting_bias"))
    convolution, _, _ = translated("group", group, peer(case, "group_kernel"), peer(case, "group_bias"))
    features = convolution(lifting(peer(case, "input")).relu()).unflatten(1, (group.order, -1))
    assert_close(features.mean(dim=1), peer(case, "mean"))
    assert_close(features.amax(dim=1), peer(case, "max"))


@pytest.mark.parametrize("options", [["--widths", "2", "3", "4"], ["--layer"]], ids=["network", "layer"])
def test_training_step_reports(options):
    """The benchmark's script runs, and its network has our network's parameters but for escnn's default 3 x 3 basis."""
    small = ["--group", "p4m", "--size", "8", "--batch", "1", "--rounds", "3", "--threads", "1"]
    command = [PYTHON, "-I", SCRIPTS / "training_step.py", *small, *options]
    report = json.loads(subprocess.run(command, check=True, timeout=600, stdout=subprocess.PIPE).stdout)
    ours = GroupConv2d(Group.P4M, 16, 16)
    if "--widths" in options:
        ours = build_model(ModelSpec("simplified", "p4m", [2, 3, 4]))
    missing = sum(m.weight.numel() // 3 for m in ours.modules() if getattr(m, "kernel_size", None) == 3)  # 6 of 9
    assert report["parameters"] == sum(p.numel() for p in ours.parameters()) - missing
    assert len(report["steps_s"]) == 3
    assert min(report["steps_s"]) <= report["step_s"] <= max(report["steps_s"])
