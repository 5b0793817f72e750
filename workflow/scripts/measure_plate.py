"""Measure the nuclei of a plate: nuclei.parquet, fields.tsv, wells.tsv."""

from equinuclei.plates.measure import measure_plate
from equinuclei.plates.stops import telling_stops
from equinuclei.runtime.job import job

parameters = snakemake.params
with job(snakemake.log[0]), telling_stops(parameters.results, snakemake.wildcards.plate, "measure_plate"):
    measure_plate(
        snakemake.input.plate,
        snakemake.input.fields,
        snakemake.input.segmentation,
        channel=parameters.channel,
        nuclei_table=snakemake.output.nuclei,
        fields_table=snakemake.output.fields,
        wells_table=snakemake.output.wells,
    )
