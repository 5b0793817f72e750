"""Segment the nuclei of a plate: segmentation.ome.zarr."""

from equinuclei.inbox import quarantine
from equinuclei.job import job
from equinuclei.plate_segmentation import segment_plate

with job(snakemake.log[0]), quarantine(snakemake.params.results, snakemake.wildcards.plate):
    segment_plate(
        snakemake.input.plate,
        snakemake.input.fields,
        snakemake.input.weights,
        snakemake.output.segmentation,
        channel=snakemake.params.channel,
        min_area=snakemake.params.min_area,
        tile=snakemake.params.tile,
        device=snakemake.params.device,
        threads=snakemake.threads,
        ngff_version=snakemake.params.ngff_version,
    )
