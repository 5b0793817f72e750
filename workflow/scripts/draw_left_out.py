"""Draw the scores of models trained with and without each cell line."""

from equinuclei.figures.subsets import draw_left_out
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    draw_left_out(snakemake.input.left_out, models=snakemake.params.models, figure=snakemake.output.figure)
