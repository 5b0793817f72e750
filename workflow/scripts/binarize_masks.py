"""Derive the targets of a data set from its annotations: targets.zarr with every kind of target, and instances."""

from equinuclei.dataset.convert import binarize_masks
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    binarize_masks(
        snakemake.input.annotations,
        snakemake.input.fields,
        snakemake.output.targets,
        mask=snakemake.params.mask,
        workers=snakemake.threads,
        code=snakemake.params.code,
    )
