"""Join the parts that several jobs have segmented of a plate: segmentation.ome.zarr."""

from equinuclei.plates.segment import join_parts
from equinuclei.plates.stops import telling_stops
from equinuclei.runtime.job import job

with job(snakemake.log[0]), telling_stops(snakemake.params.results, snakemake.wildcards.plate, "join_parts"):
    join_parts(snakemake.input.plate, snakemake.input.parts, snakemake.output.segmentation)
