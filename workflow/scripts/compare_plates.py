"""Tell the state of all plates, and compare those that are finished: plates.tsv, plates.html."""

from equinuclei.plates.inbox import tell_failures
from equinuclei.plates.overview import FinishedPlate, compare_plates
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    scanned = tell_failures(snakemake.input.scan, snakemake.params.results, snakemake.params.settings)
    compare_plates(
        [FinishedPlate(**plate) for plate in snakemake.params.plates],
        scanned,
        table=snakemake.output.table,
        page=snakemake.output.page,
    )
