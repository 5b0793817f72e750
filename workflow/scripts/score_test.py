"""Score a model's predictions of every scored image, its crops and its rotations: scores and crop_scores.parquet."""

from equinuclei.evaluation.scored import ScoredPart
from equinuclei.evaluation.scoring import RunLabels, score_predictions
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    score_predictions(
        snakemake.input.predictions,
        snakemake.input.index,
        ScoredPart(
            snakemake.input.targets, snakemake.input.fields, snakemake.input.splits, snakemake.wildcards.modality
        ),
        RunLabels(snakemake.wildcards.dataset, snakemake.wildcards.model, int(snakemake.wildcards.seed)),
        scores=snakemake.output.scores,
        crop_scores=snakemake.output.crop_scores,
        instances=snakemake.params.instances,
        border_as=snakemake.params.mask["border_as"],
    )
