"""What an exported network holds, without the names, files and lines of the code that made it.

PyTorch writes them into programs and ONNX files, for people who debug one.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from google.protobuf.message import Message

PLACES = frozenset({"stack_trace", "nn_module_stack"})


def onnx_without_places(path: Path) -> str:
    """An ONNX file, as a checksum."""
    return _of_onnx(path.read_bytes())


def zip_without_places(path: Path) -> str:
    """A PyTorch program, or the package of a model with its exports, as a list of files and checksums."""
    return _of_zip(path.read_bytes())


def _of_zip(content: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    return "\n".join(sorted(f"{name} {_of_part(name, part)}" for name, part in _without_folder(parts)))


def _without_folder(parts: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """The files of an archive; those of a program lie in a folder with a temporary name, one of them its number."""
    is_program = any(name.endswith("/archive_format") for name in parts)
    for name, part in parts.items():
        inner = name.partition("/")[2] if is_program else name
        if inner != ".data/serialization_id":
            yield inner, part


def _of_part(name: str, content: bytes) -> str:
    if name.endswith(".onnx"):
        return _of_onnx(content)
    if name.endswith(".pt2"):
        return hashlib.sha256(_of_zip(content).encode()).hexdigest()
    if name.endswith(".json"):
        content = json.dumps(_strip(json.loads(content)), sort_keys=True).encode()
    elif name.endswith(".yaml"):  # checksums of the files beside it, which are compared themselves
        content = re.sub(rb"sha256: [0-9a-f]{64}", b"", content)
    return hashlib.sha256(content).hexdigest()


def _strip(value: object) -> object:
    if isinstance(value, dict):
        return {key: _strip(part) for key, part in value.items() if key not in PLACES}
    return [_strip(part) for part in value] if isinstance(value, list) else value


def _of_onnx(content: bytes) -> str:
    model = onnx.load_model_from_string(content)
    _clear(model)
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def _clear(message: Message) -> None:
    """Clear what a message and those in it tell for people."""
    for name in ("doc_string", "metadata_props"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if not isinstance(value, Message) else [value]:
                _clear(part)
