"""Simulate a data set of seven cell lines: images, masks and their table."""

from equinuclei.runtime.job import job
from equinuclei.simulation.datasets import simulate_dataset

if __name__ == "__main__":  # the worker processes import this file
    with job(snakemake.log[0]):
        simulate_dataset(
            snakemake.output.source,
            **{key: value for key, value in snakemake.params.simulation.items() if key != "layout"},
            mask=snakemake.params.mask["kind"],
            processes=snakemake.threads,
        )
