"""Compare models trained with and without a cell line on its images: leave_one_cell_line_out.tsv."""

from equinuclei.analysis.subsets import aggregate_left_out
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    aggregate_left_out(
        snakemake.input.scores,
        points=snakemake.params.points,
        equivariant=snakemake.params.equivariant,
        left_out=snakemake.output.left_out,
    )
