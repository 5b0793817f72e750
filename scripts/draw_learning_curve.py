"""Draw the learning curves of a data set."""

from equinuclei.job import job
from equinuclei.subset_figures import draw_learning_curve

with job(snakemake.log[0]):
    draw_learning_curve(snakemake.input.curve, models=snakemake.params.models, figure=snakemake.output.figure)
