"""Draw the figures of a data set: of its scores, differences, contrasts and costs, of training, and of examples."""

from pathlib import Path

from equinuclei.figures.study import StudyFiles, draw_figures
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    study = StudyFiles(
        tables=Path(snakemake.input.f1).parent,
        scores=[*snakemake.input.scores, *snakemake.input.otsu],
        histories=snakemake.input.histories,
        runs=snakemake.input.runs,
        examples=snakemake.input.examples,
        models=snakemake.params.models,
    )
    draw_figures(study, figures=snakemake.output.png, galleries=snakemake.output.galleries)
