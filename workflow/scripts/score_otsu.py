"""Score Otsu's threshold on the scored images: scores.parquet."""

from equinuclei.evaluation.scored import ScoredPart
from equinuclei.evaluation.scoring import score_otsu
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    score_otsu(
        snakemake.input.images,
        ScoredPart(
            snakemake.input.targets, snakemake.input.fields, snakemake.input.splits, snakemake.wildcards.modality
        ),
        dataset=snakemake.wildcards.dataset,
        mirrored=snakemake.params.mirrored,
        scores=snakemake.output.scores,
    )
