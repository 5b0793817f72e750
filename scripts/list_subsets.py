"""List which groups are in which subset of the training part: subsets.tsv."""

from equinuclei.job import job
from equinuclei.subsets import list_subsets

with job(snakemake.log[0]):
    list_subsets(
        snakemake.input.fields,
        snakemake.input.splits,
        modalities=snakemake.params.modalities,
        subsets=snakemake.params.subsets,
        seeds=snakemake.params.seeds,
        output=snakemake.output.subsets,
    )
