"""Draw the figures of a data set: F1 bars, f1-score_difference, training curves, and contours of examples."""

from equinuclei.figure_files import draw_figures
from equinuclei.job import job

with job(snakemake.log[0]):
    draw_figures(
        f1=snakemake.input.f1,
        difference=snakemake.input.difference,
        differences=snakemake.input.differences,
        scores=[*snakemake.input.scores, *snakemake.input.otsu],
        histories=snakemake.input.histories,
        runs=snakemake.input.runs,
        examples=snakemake.input.examples,
        models=snakemake.params.models,
        f1_figure=snakemake.output.f1,
        difference_figure=snakemake.output.difference,
        curves_figure=snakemake.output.curves,
        contours_folder=snakemake.output.contours,
    )
