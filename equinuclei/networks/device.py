"""Torch's device, threads and determinism, the same for training and prediction."""

import os

import torch

from equinuclei.errors import InputError


def prepare_torch(device: str, threads: int, *, deterministic: bool) -> torch.device:
    """Set torch's threads and determinism, and return the device. Raises InputError if the GPU asked for is absent.

    float32 products stay float32 (no TF32), as the study's metric needs them.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "the configuration asks for `device: cuda`, and this job sees no GPU; run it on a node with one, "
            "or set `training: {device: cpu}`"
        )
    # cuBLAS reads it when it first computes. Without it, torch refuses matrix products in deterministic mode.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    # Deterministic mode also fills every new tensor, for code that reads what it never wrote; a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = not deterministic
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device(device)
