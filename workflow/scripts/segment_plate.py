"""Segment the nuclei of a plate: segmentation.ome.zarr."""

from equinuclei.plates.segment import SegmentationSettings, segment_plate
from equinuclei.plates.stops import telling_stops
from equinuclei.runtime.job import job

parameters = snakemake.params
name = f"segment_plate_{parameters.part[0]}"
with job(snakemake.log[0]), telling_stops(parameters.results, snakemake.wildcards.plate, name):
    segment_plate(
        snakemake.input.plate,
        snakemake.input.fields,
        snakemake.input.weights,
        snakemake.output.segmentation,
        SegmentationSettings(
            channel=parameters.channel,
            min_area=parameters.min_area,
            diameter=parameters.diameter,
            fill_holes=parameters.fill_holes,
            exclude_border=parameters.exclude_border,
            tile=parameters.tile,
            device=parameters.device,
            threads=snakemake.threads,
            ngff_version=parameters.ngff_version,
        ),
        part=tuple(parameters.part),
    )
