"""Tell the state of all plates, and compare those that are finished: plates.tsv, plates.html."""

from equinuclei.plates.inbox import tell_failures
from equinuclei.plates.overview import FinishedPlate, compare_plates
from equinuclei.plates.stops import record_problems, with_stops
from equinuclei.runtime.job import job

parameters = snakemake.params
with job(snakemake.log[0]):
    scanned = tell_failures(snakemake.input.scan, parameters.results, parameters.settings)
    problems = compare_plates(
        [FinishedPlate(**plate) for plate in parameters.plates],
        with_stops(scanned, parameters.results),
        table=snakemake.output.table,
        page=snakemake.output.page,
    )
    record_problems(parameters.results, [plate["name"] for plate in parameters.plates], "compare_plates", problems)
