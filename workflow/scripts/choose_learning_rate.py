"""Choose the learning rate of one model on one modality from candidates: learning_rate.json."""

from equinuclei.dataset.parts import DatasetFiles, load_part
from equinuclei.dataset.subsets import in_subset
from equinuclei.runtime.job import job
from equinuclei.specs import resolve_spec
from equinuclei.training.tuning import choose_learning_rate

with job(snakemake.log[0]):
    spec = resolve_spec(snakemake.params.spec)
    training = load_part(
        DatasetFiles(snakemake.input.images, snakemake.input.targets, snakemake.input.fields, snakemake.input.splits),
        modality=snakemake.wildcards.modality,
        part="train",
        target=spec.target,
        keep=in_subset(snakemake.params.subset, snakemake.params.seed),
        diameters=spec.diameter is not None,
        workers=snakemake.threads,
    )
    choose_learning_rate(
        spec,
        training,
        snakemake.params.training,
        snakemake.params.candidates,
        seed=snakemake.params.seed,
        output=snakemake.output[0],
        code=snakemake.params.code,
        record={key: snakemake.wildcards[key] for key in ("dataset", "model", "modality")},
    )
