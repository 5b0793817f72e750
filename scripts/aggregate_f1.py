"""Aggregate the scores of every model of a data set: f1.tsv, f1_by_cell_line.tsv, f1_difference.tsv, summary.txt."""

from equinuclei.job import job
from equinuclei.tables import aggregate_f1

with job(snakemake.log[0]):
    aggregate_f1(
        [*snakemake.input.scores, *snakemake.input.otsu],
        runs=snakemake.input.runs,
        models=snakemake.params.models,
        f1=snakemake.output.f1,
        by_cell_line=snakemake.output.by_cell_line,
        difference=snakemake.output.difference,
        differences=snakemake.output.differences,
        summary=snakemake.output.summary,
    )
