"""Equinuclei: segmentation of cell nuclei with rotation-equivariant networks."""

__version__ = "0.1.0"
