"""Draw how much turns and shifts change the scores of every model of a data set."""

from equinuclei.figures.moves import draw_moves
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    draw_moves(snakemake.input.table, models=snakemake.params.models, figure=snakemake.output.figure)
