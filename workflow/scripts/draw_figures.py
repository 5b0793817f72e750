"""Draw the figures of a data set: of its scores, differences, contrasts and costs, of training, and of examples."""

from pathlib import Path

from equinuclei.analysis.folder import StudyFolder
from equinuclei.figures.study import draw_figures
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    study = StudyFolder(
        tables=Path(snakemake.input.f1).parent,
        scores=[*snakemake.input.scores, *snakemake.input.otsu],
        runs=snakemake.input.runs,
        histories=snakemake.input.histories,
        examples=snakemake.input.examples,
    )
    draw_figures(study, snakemake.params.models, figures=snakemake.output.png, galleries=snakemake.output.galleries)
