"""Write the page of a plate: report.html, and report_files, which belongs to it."""

from equinuclei.plates.report import MeasuredPlate, report_plate
from equinuclei.plates.stops import forget_stops, telling_stops
from equinuclei.runtime.job import job

parameters = snakemake.params
with job(snakemake.log[0]), telling_stops(parameters.results, snakemake.wildcards.plate, "report_plate"):
    report_plate(
        MeasuredPlate(
            plate=snakemake.input.plate,
            segmentation=snakemake.input.segmentation,
            fields=snakemake.input.fields,
            wells=snakemake.input.wells,
            nuclei=parameters.nuclei,
        ),
        snakemake.output.page,
        model=snakemake.wildcards.plate_model,
        channel=parameters.channel,
        plate_map=snakemake.input.get("plate_map") or None,
        truth=parameters.truth or None,
        image_budget=1e9 * parameters.page_images,
        workers=snakemake.threads,
    )
    forget_stops(parameters.results, snakemake.wildcards.plate)
