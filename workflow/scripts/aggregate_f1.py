"""Aggregate the scores of every model of a data set: tables of scores and contrasts, and summary.txt."""

from equinuclei.analysis.tables import aggregate_f1
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    aggregate_f1(
        [*snakemake.input.scores, *snakemake.input.otsu],
        crop_scores=snakemake.input.crop_scores,
        runs=snakemake.input.runs,
        models=snakemake.params.models,
        twins=snakemake.params.twins,
        declared=snakemake.params.contrasts,
        equivariant=snakemake.params.equivariant,
        f1=snakemake.output.f1,
        by_cell_line=snakemake.output.by_cell_line,
        by_threshold=snakemake.output.by_threshold,
        difference=snakemake.output.difference,
        differences=snakemake.output.differences,
        difference_crops=snakemake.output.difference_crops,
        differences_crops=snakemake.output.differences_crops,
        reduction=snakemake.output.reduction,
        intervals=snakemake.output.intervals,
        contrasts=snakemake.output.contrasts,
        contrasts_by_line=snakemake.output.contrasts_by_line,
        summary=snakemake.output.summary,
    )
