"""Score one trained network as plates use it: accuracy.tsv, accuracy.md."""

from equinuclei.evaluation.accuracy import evaluate_model
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    evaluate_model(
        snakemake.input.weights,
        snakemake.input.images,
        ScoredPart(
            snakemake.input.targets, snakemake.input.fields, snakemake.input.splits, snakemake.wildcards.modality
        ),
        table=snakemake.output.table,
        summary=snakemake.output.summary,
        threads=snakemake.threads,
    )
