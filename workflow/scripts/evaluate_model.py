"""Score one trained network as plates use it: accuracy.tsv, accuracy.md."""

from equinuclei.evaluation.accuracy import evaluate_model
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    evaluate_model(
        snakemake.input.weights,
        images=snakemake.input.images,
        targets=snakemake.input.targets,
        fields=snakemake.input.fields,
        splits=snakemake.input.splits,
        modality=snakemake.wildcards.modality,
        table=snakemake.output.table,
        summary=snakemake.output.summary,
        threads=snakemake.threads,
    )
