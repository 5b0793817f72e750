"""Split a data set into train, val and test: splits.tsv and its checksum."""

from equinuclei.dataset.parts import read_fields
from equinuclei.dataset.splits import split_dataset, write_splits
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    fields = read_fields(snakemake.input.fields)
    splits = split_dataset(fields, snakemake.params.sizes, snakemake.params.seed)
    write_splits(splits, snakemake.output.splits)
