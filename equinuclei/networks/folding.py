"""Folding: the ordinary CNN that a trained network is, for the fastest evaluation and for export."""

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def fold(network: Network) -> Network:
    """A copy of a network in evaluation mode that computes the same with ordinary layers alone.

    Filter banks are expanded once, the mean over the group is part of the last convolution, and a batch norm that
    follows a convolution is part of it. A batch norm before a convolution stays: at the border its shift is not the
    convolution's zero padding. Logits agree with the network's to rounding (relative 1e-5 in float32). The copy has no
    exact mode, and is not meant for training.
    """
    folded = copy.deepcopy(network).eval()
    _fold_children(folded)
    return folded.requires_grad_(False).to(memory_format=torch.channels_last)


def _fold_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if hasattr(child, "fold"):
            setattr(module, name, child.fold())
        else:
            _fold_children(child)
    if isinstance(module, nn.Sequential):
        _fuse_batch_norms(module)


def _fuse_batch_norms(layers: nn.Sequential) -> None:
    """Merge every batch norm into the convolution right before it."""
    for place in range(len(layers) - 1, 0, -1):
        conv, norm = layers[place - 1], layers[place]
        if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
            layers[place - 1] = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
            del layers[place]
