"""Weights on disk: a safetensors file with the spec of the network they belong to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from equinuclei.errors import InputError, reading
from equinuclei.networks.build import build_model
from equinuclei.networks.layers import use_channels_last
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.runtime.files import replacing
from equinuclei.specs import ModelSpec, resolve_spec

KEY = "equinuclei"
"""Name of the metadata entry, a JSON object."""

_REMEDY = (
    "these are no weights of this workflow, or damaged ones: copy them again; or, in the results of a study, delete "
    "the file and run again, which trains the model again"
)
_DEEPEST = 20
"""Levels of a network, each of which halves the image."""
_LARGEST_DIAMETER = 10_000  # pixels


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

    Raises InputError if the file is not a safetensors file of this project or does not match its spec, UnavailableError
    if it cannot be read now.
    """
    spec = read_metadata(path)["spec"]
    with reading(path, _REMEDY):
        network = _build(path, spec)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: the weights do not fit the network {spec}: {error}") from error
    use_channels_last(network)
    return network.to(device).eval()


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of a weights file: `spec`, and the certificate as `equivariance` if there is one.

    Raises InputError if the file is not a safetensors file of this project, UnavailableError if it cannot be read now.
    """
    with reading(path, _REMEDY):
        with Path(path).open("rb") as opened:
            opened.read(8)  # safetensors does not pass on what the file system answers
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if KEY not in metadata:
            raise InputError(
                f"{path}: contains no model specification; only weights saved by this workflow can be loaded"
            )
        content = json.loads(metadata[KEY])
        if not isinstance(content, dict) or not isinstance(content.get("spec"), dict):
            raise ValueError("its metadata holds no spec of a network")
    return content


def _build(path: str | Path, spec: Mapping) -> SegmentationNetwork:
    """The network of a spec, if it is not larger than the file: a damaged spec can ask for any size."""
    widths = spec.get("widths")
    if not isinstance(widths, list) or len(widths) > _DEEPEST or not all(isinstance(w, int) for w in widths):
        raise ValueError(f"widths {str(widths)[:100]}")
    diameter = spec.get("diameter")
    if diameter is not None and not (type(diameter) in (int, float) and 0 < diameter < _LARGEST_DIAMETER):
        raise ValueError(f"diameter {str(diameter)[:100]}")
    with torch.device("meta"):  # neither memory nor time for its numbers
        planned = build_model(resolve_spec(spec))
    needed = sum(tensor.nbytes for tensor in planned.state_dict().values())
    if needed > (held := Path(path).stat().st_size):
        raise ValueError(
            f"the weights do not fit the network of its spec: that takes {needed:,} bytes, and it holds {held:,}"
        )
    return build_model(resolve_spec(spec))
