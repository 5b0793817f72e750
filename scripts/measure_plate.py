"""Measure the nuclei of a plate: nuclei.parquet, fields.tsv, wells.tsv."""

from equinuclei.inbox import quarantine
from equinuclei.job import job
from equinuclei.plate_results import measure_plate

with job(snakemake.log[0]), quarantine(snakemake.params.results, snakemake.wildcards.plate):
    measure_plate(
        snakemake.input.plate,
        snakemake.input.fields,
        snakemake.input.segmentation,
        channel=snakemake.params.channel,
        nuclei_table=snakemake.output.nuclei,
        fields_table=snakemake.output.fields,
        wells_table=snakemake.output.wells,
    )
