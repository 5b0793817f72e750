"""Predict every scored image and its rotations, mode by mode: predictions.zarr, predictions.tsv, examples.npz."""

from equinuclei.evaluation.prediction import PredictionFiles, PredictionSettings, predict_part
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    predict_part(
        snakemake.input.weights,
        snakemake.input.images,
        ScoredPart(
            snakemake.input.targets, snakemake.input.fields, snakemake.input.splits, snakemake.wildcards.modality
        ),
        PredictionSettings(
            mirrored=snakemake.params.mirrored,
            inferences=snakemake.params.inferences,
            examples=snakemake.params.examples,
            device=snakemake.params.device,
            torch_threads=snakemake.params.torch_threads,
            moves=snakemake.params.get("moves", False),
        ),
        PredictionFiles(snakemake.output.predictions, snakemake.output.index, snakemake.output.examples),
        code=snakemake.params.code,
    )
