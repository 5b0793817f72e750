"""Score a model's predictions of turned and shifted images: turns_and_shifts.parquet."""

from equinuclei.evaluation.moved import score_moves
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.evaluation.scoring import RunLabels
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    score_moves(
        snakemake.input.predictions,
        snakemake.input.index,
        ScoredPart(
            snakemake.input.targets, snakemake.input.fields, snakemake.input.splits, snakemake.wildcards.modality
        ),
        RunLabels(snakemake.wildcards.dataset, snakemake.wildcards.model, int(snakemake.wildcards.seed)),
        scores=snakemake.output.scores,
        instances=snakemake.params.instances,
        border_as=snakemake.params.mask["border_as"],
    )
