"""Compare the finished plates: plates.tsv, plates.html."""

from equinuclei.plates.overview import FinishedPlate, compare_plates
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    compare_plates(
        [FinishedPlate(**plate) for plate in snakemake.params.plates],
        table=snakemake.output.table,
        page=snakemake.output.page,
    )
