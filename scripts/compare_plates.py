"""Compare the finished plates: plates.tsv, plates.html."""

from equinuclei.job import job
from equinuclei.plate_overview import FinishedPlate, compare_plates

with job(snakemake.log[0]):
    compare_plates(
        [FinishedPlate(**plate) for plate in snakemake.params.plates],
        table=snakemake.output.table,
        page=snakemake.output.page,
    )
