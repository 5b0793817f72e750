"""Train one model on one modality with one seed: weights.safetensors, history.csv, run.json."""

from pathlib import Path

from equinuclei.dataset.parts import load_training_parts
from equinuclei.dataset.subsets import in_subset
from equinuclei.runtime.job import job
from equinuclei.specs import resolve_spec
from equinuclei.training.settings import resolve_settings
from equinuclei.training.train import TrainingFiles, train_model

with job(snakemake.log[0]):
    spec = resolve_spec(snakemake.params.spec)
    training, validation = load_training_parts(
        snakemake.input.images,
        snakemake.input.targets,
        snakemake.input.fields,
        snakemake.input.splits,
        modality=snakemake.wildcards.modality,
        target=spec.target,
        keep=in_subset(snakemake.params.subset, int(snakemake.wildcards.seed)),
        diameters=spec.diameter is not None,
        workers=snakemake.threads,
    )
    settings, choice = resolve_settings(snakemake.params.training, snakemake.input.learning_rate or None)
    train_model(
        spec,
        training,
        validation,
        settings,
        seed=int(snakemake.wildcards.seed),
        files=TrainingFiles(*map(Path, (snakemake.output.weights, snakemake.output.history, snakemake.output.run))),
        code=snakemake.params.code,
        record={key: snakemake.wildcards[key] for key in ("dataset", "model", "modality")}
        | {"subset": snakemake.params.subset}
        | choice,
    )
