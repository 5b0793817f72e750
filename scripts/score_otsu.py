"""Score Otsu's threshold on the scored images: scores.parquet."""

from equinuclei.job import job
from equinuclei.scoring import score_otsu

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
