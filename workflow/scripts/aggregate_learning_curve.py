"""Aggregate the scores of models trained on more and more groups: learning_curve.tsv, learning_curve_contrasts.tsv."""

from equinuclei.analysis.subsets import aggregate_learning_curve
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    aggregate_learning_curve(
        snakemake.input.scores,
        subsets=snakemake.input.subsets,
        points=snakemake.params.points,
        equivariant=snakemake.params.equivariant,
        curve=snakemake.output.curve,
        contrasts=snakemake.output.contrasts,
    )
