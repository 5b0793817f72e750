"""Join the parts that several jobs have segmented of a plate: segmentation.ome.zarr."""

from equinuclei.plates.segment import join_parts
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    join_parts(snakemake.input.plate, snakemake.input.parts, snakemake.output.segmentation)
