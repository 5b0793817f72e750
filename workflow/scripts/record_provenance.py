"""Write what the results of a data set were made from: provenance.json."""

from equinuclei.analysis.manifest import write_provenance
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    stores = [snakemake.input.images, snakemake.input.annotations, snakemake.input.targets]
    write_provenance(
        snakemake.params.folder,
        files=[path for path in snakemake.input if path not in stores],
        stores=stores,
        runs=snakemake.input.runs,
        source=snakemake.input.source,
        config=snakemake.params.config,
        code=snakemake.params.rules,
        output=snakemake.output.provenance,
    )
