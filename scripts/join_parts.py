"""Join the parts that several jobs have segmented of a plate: segmentation.ome.zarr."""

from equinuclei.job import job
from equinuclei.plate_segmentation import join_parts

with job(snakemake.log[0]):
    join_parts(snakemake.input.plate, snakemake.input.parts, snakemake.output.segmentation)
