"""Score Otsu's threshold on the scored images: scores.parquet."""

from equinuclei.evaluation.scoring import score_otsu
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    score_otsu(
        snakemake.input.images,
        targets=snakemake.input.targets,
        fields=snakemake.input.fields,
        splits=snakemake.input.splits,
        dataset=snakemake.wildcards.dataset,
        modality=snakemake.wildcards.modality,
        mirrored=snakemake.params.mirrored,
        scores=snakemake.output.scores,
    )
