"""List which groups are in which subset of the training part: subsets.tsv."""

from equinuclei.dataset.subsets import list_subsets
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    list_subsets(
        snakemake.input.fields,
        snakemake.input.splits,
        modalities=snakemake.params.modalities,
        subsets=snakemake.params.subsets,
        seeds=snakemake.params.seeds,
        output=snakemake.output.subsets,
    )
