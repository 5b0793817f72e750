"""Trained networks for use outside this project: as a PyTorch program, and as ONNX."""

from pathlib import Path

import onnx
import torch
from torch.export import Dim, ExportedProgram

from equinuclei.files import replacing
from equinuclei.folding import fold
from equinuclei.models.network import SegmentationNetwork


def export_program(network: SegmentationNetwork) -> ExportedProgram:
    """The folded network as a program of PyTorch operations alone: images [N, 1, H, W] float32 -> logits [N, 1, H, W].

    N, H and W are dynamic; H and W are multiples of `network.input_multiple`, at least two of it.
    """
    multiple = network.input_multiple
    shape = {0: Dim("batch"), 2: multiple * Dim("rows", min=2), 3: multiple * Dim("columns", min=2)}
    example = torch.zeros(2, 1, 2 * multiple, 3 * multiple)
    return torch.export.export(fold(network).to("cpu", torch.float32), (example,), dynamic_shapes=(shape,))


def export_model(network: SegmentationNetwork, *, program: str | Path, onnx_file: str | Path, metadata: dict) -> None:
    """Write a network as a PyTorch program (`program`, .pt2) and as ONNX (`onnx_file`).

    Both take standardised images (zero mean, unit variance) named `image` and give `logits`; a logit above 0 is a
    nucleus. `metadata`: plain strings, kept in both files.
    """
    exported = export_program(network)
    with replacing(program) as temporary:
        torch.export.save(exported, temporary, extra_files={key: str(value) for key, value in metadata.items()})
    converted = torch.onnx.export(
        exported, input_names=["image"], output_names=["logits"], dynamo=True, verbose=False
    ).model_proto
    onnx.helper.set_model_props(converted, {key: str(value) for key, value in metadata.items()})
    with replacing(onnx_file) as temporary:
        onnx.save(converted, temporary)
