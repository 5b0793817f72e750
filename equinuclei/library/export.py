"""Trained networks for use outside this project: as a PyTorch program, and as ONNX."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch.export import Dim, ExportedProgram

from equinuclei.networks.checkpoint import load_model, read_metadata
from equinuclei.networks.folding import fold
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.runtime.files import replacing

logger = logging.getLogger("equinuclei.library.export")

# Largest difference between the maps of an exported network and of the network, relative to the largest value.
TOLERANCE = 1e-4


def export_program(network: SegmentationNetwork) -> ExportedProgram:
    """The folded network as a program of PyTorch operations alone: images [N, 1, H, W] float32 -> maps [N, K, H, W].

    N, H and W are dynamic; H and W are multiples of `network.input_multiple`, at least two of it.
    """
    multiple = network.input_multiple
    shape = {0: Dim("batch"), 2: multiple * Dim("rows", min=2), 3: multiple * Dim("columns", min=2)}
    example = torch.zeros(2, 1, 2 * multiple, 3 * multiple)
    return torch.export.export(fold(network).to("cpu", torch.float32), (example,), dynamic_shapes=(shape,))


def write_exports(
    network: SegmentationNetwork, *, program: str | Path, onnx_file: str | Path, metadata: Mapping[str, Any]
) -> dict[str, float]:
    """Write a network as a PyTorch program (`program`, .pt2) and as ONNX (`onnx_file`), and run both.

    Both take normalised images (`equinuclei.images.intensity`) named `image` and give the maps of the network's target,
    named `logits` (`equinuclei.networks.targets`); a logit of foreground above 0 is a nucleus. `metadata` is kept in
    both files, each value as JSON. Returns the largest difference of their maps from the network's on random images,
    relative to the largest value, under the keys "program" and "onnx".

    Raises RuntimeError, and writes nothing, if one is above TOLERANCE.
    """
    exported = export_program(network)
    converted = torch.onnx.export(exported, input_names=["image"], output_names=["logits"], dynamo=True, verbose=False)
    assert converted is not None  # it is None only where the export writes a file itself
    model = converted.model_proto
    texts = {name: json.dumps(value) for name, value in metadata.items()}
    onnx.helper.set_model_props(model, texts)
    errors = _errors(network, exported, model)
    if max(errors.values()) > TOLERANCE:
        raise RuntimeError(f"the exported network computes something else (relative errors {errors})")
    with replacing(program) as temporary:
        torch.export.save(exported, temporary, extra_files=texts)
    with replacing(onnx_file) as temporary:
        onnx.save(model, temporary)
    return errors


def export_model(weights: str | Path, *, program: str | Path, onnx_file: str | Path) -> dict[str, Any]:
    """Export a trained network from its weights; see `write_exports`. Its spec, target and certificate are kept there.

    Returns what is kept: `spec`, `equivariance`, `input` (normalization, multiple, reach) and `target`.

    Raises InputError for weights that cannot be loaded.
    """
    network = load_model(weights)
    frame = {"normalization": network.normalization, "multiple": network.input_multiple, "reach": network.reach}
    metadata = read_metadata(weights) | {"input": frame, "target": network.target}
    errors = write_exports(network, program=program, onnx_file=onnx_file, metadata=metadata)
    logger.info("largest relative error: PyTorch program %.1e, ONNX Runtime %.1e", errors["program"], errors["onnx"])
    return metadata


def _errors(network: SegmentationNetwork, exported: ExportedProgram, model: onnx.ModelProto) -> dict[str, float]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    program = exported.module()
    generator = torch.Generator().manual_seed(0)
    errors = {"program": 0.0, "onnx": 0.0}
    for count, rows, columns in ((1, 2, 2), (2, 3, 4)):
        shape = (count, 1, rows * network.input_multiple, columns * network.input_multiple)
        image = torch.randn(shape, generator=generator)
        with torch.no_grad():
            expected = network(image)
            outputs = {"program": program(image)}
        outputs["onnx"] = torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0])
        for name, output in outputs.items():
            error = (output - expected).abs().max() / expected.abs().max().clamp_min(1e-30)
            errors[name] = max(errors[name], error.item())
    return errors
