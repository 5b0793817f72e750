"""Weights on disk: a safetensors file with the spec of the network they belong to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from equinuclei.errors import InputError
from equinuclei.networks.build import build_model
from equinuclei.networks.layers import use_channels_last
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.runtime.files import replacing
from equinuclei.specs import ModelSpec, resolve_spec

KEY = "equinuclei"
"""Name of the metadata entry, a JSON object."""


def save_weights(
    network: SegmentationNetwork, spec: ModelSpec, path: str | Path, certificate: Mapping | None = None
) -> None:
    """Write the weights and the spec of a network to a safetensors file, atomically.

    certificate : `network.certificate()`, stored with them.
    """
    content: dict[str, Any] = {"spec": spec.to_dict()}
    if certificate is not None:
        content["equivariance"] = dict(certificate)
    # A single entry, because safetensors writes several in an order that varies from one write to the next.
    metadata = {KEY: json.dumps(content)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(path) as temporary:
        # Not save_file, which ignores the umask and makes the file readable by its owner alone.
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_model(path: str | Path, device: torch.device | str = "cpu") -> SegmentationNetwork:
    """The network in a weights file, in evaluation mode on a device.

    Raises InputError if the file is missing, is not a safetensors file of this project, or does not match its spec.
    """
    spec = read_metadata(path)["spec"]
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    network = build_model(resolve_spec(spec))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: the weights do not fit the network {spec}: {error}") from error
    use_channels_last(network)
    return network.to(device).eval()


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of a weights file: `spec`, and the certificate as `equivariance` if there is one.

    Raises InputError if the file is missing or is not a safetensors file of this project.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}); train the model again") from error
    if KEY not in metadata:
        raise InputError(f"{path}: contains no model specification; only weights saved by this workflow can be loaded")
    return json.loads(metadata[KEY])
