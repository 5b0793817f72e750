"""Write the page of a plate: report.html."""

from equinuclei.plates.inbox import quarantine
from equinuclei.plates.results import report_plate
from equinuclei.runtime.job import job

parameters = snakemake.params
with job(snakemake.log[0]), quarantine(parameters.results, snakemake.wildcards.plate, parameters.settings):
    report_plate(
        snakemake.input.plate,
        snakemake.input.segmentation,
        snakemake.input.fields,
        snakemake.input.wells,
        model=snakemake.wildcards.plate_model,
        channel=parameters.channel,
        plate_map=snakemake.input.get("plate_map") or None,
        truth=parameters.truth or None,
        page=snakemake.output.page,
    )
