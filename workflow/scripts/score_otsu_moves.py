"""Score Otsu's threshold on turned and shifted images: turns_and_shifts.parquet."""

from equinuclei.evaluation.moved import score_otsu_moves
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    score_otsu_moves(
        snakemake.input.images,
        ScoredPart(
            snakemake.input.targets, snakemake.input.fields, snakemake.input.splits, snakemake.wildcards.modality
        ),
        dataset=snakemake.wildcards.dataset,
        scores=snakemake.output.scores,
    )
