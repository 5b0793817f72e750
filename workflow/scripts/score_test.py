"""Score a model's predictions of every scored image, its crops and its rotations: scores and crop_scores.parquet."""

from equinuclei.evaluation.scoring import score_predictions
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    score_predictions(
        snakemake.input.predictions,
        index=snakemake.input.index,
        targets=snakemake.input.targets,
        fields=snakemake.input.fields,
        splits=snakemake.input.splits,
        labels={key: snakemake.wildcards[key] for key in ("dataset", "model", "modality")}
        | {"seed": int(snakemake.wildcards.seed)},
        scores=snakemake.output.scores,
        crop_scores=snakemake.output.crop_scores,
        instances=snakemake.params.instances,
        border_as=snakemake.params.mask["border_as"],
    )
