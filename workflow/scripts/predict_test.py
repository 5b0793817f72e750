"""Predict every scored image and its rotations, mode by mode: predictions.zarr, predictions.tsv, examples.npz."""

from equinuclei.evaluation.prediction import predict_part
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    predict_part(
        snakemake.input.weights,
        images=snakemake.input.images,
        targets=snakemake.input.targets,
        fields=snakemake.input.fields,
        splits=snakemake.input.splits,
        modality=snakemake.wildcards.modality,
        mirrored=snakemake.params.mirrored,
        inferences=snakemake.params.inferences,
        examples=snakemake.params.examples,
        device=snakemake.params.device,
        torch_threads=snakemake.params.torch_threads,
        predictions=snakemake.output.predictions,
        index=snakemake.output.index,
        examples_file=snakemake.output.examples,
        code=snakemake.params.code,
    )
