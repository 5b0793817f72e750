"""Settings of torch for training and prediction: device, threads and determinism."""

import os

import torch

from equinuclei.errors import InputError


def prepare_torch(device: str, threads: int, *, deterministic: bool) -> torch.device:
    """Set torch's threads and determinism, and return the device. Raises InputError if a GPU is requested but missing.

    float32 products are computed in float32, not TF32, because the study's metrics need the precision.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "the configuration requests `device: cuda`, but this job finds no GPU: run it on a node with one, or set "
            "`training: {device: cpu}`"
        )
    # cuBLAS reads it when it first computes. Without it, torch refuses matrix products in deterministic mode.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    # Deterministic mode would also fill every new tensor, in case code reads uninitialised memory, at 10 % of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # not in torch's stubs
    torch.backends.cudnn.benchmark = not deterministic
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device(device)
