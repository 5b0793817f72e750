"""Draw the scores of models trained with and without each cell line."""

from equinuclei.job import job
from equinuclei.subset_figures import draw_left_out

with job(snakemake.log[0]):
    draw_left_out(snakemake.input.left_out, models=snakemake.params.models, figure=snakemake.output.figure)
