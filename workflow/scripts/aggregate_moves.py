"""Compare the scores of every model before and after turns and shifts: turns_and_shifts.tsv."""

from equinuclei.analysis.moves import aggregate_moves
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    aggregate_moves(
        snakemake.input.moved,
        [*snakemake.input.scores, *snakemake.input.otsu],
        models=snakemake.params.models,
        twins=snakemake.params.twins,
        table=snakemake.output.table,
    )
