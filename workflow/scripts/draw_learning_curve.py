"""Draw the learning curves of a data set."""

from equinuclei.figures.subsets import draw_learning_curve
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    draw_learning_curve(snakemake.input.curve, models=snakemake.params.models, figure=snakemake.output.figure)
