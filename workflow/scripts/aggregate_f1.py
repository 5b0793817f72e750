"""Aggregate the scores of every model of a data set: tables of scores and contrasts, and summary.txt."""

from pathlib import Path

from equinuclei.analysis.folder import StudyFolder
from equinuclei.analysis.tables import Comparison, aggregate_f1
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    study = StudyFolder(
        tables=Path(snakemake.output.summary).parent,
        scores=[*snakemake.input.scores, *snakemake.input.otsu],
        runs=snakemake.input.runs,
        crop_scores=snakemake.input.crop_scores,
    )
    compared = Comparison(
        models=snakemake.params.models,
        twins=snakemake.params.twins,
        contrasts=snakemake.params.contrasts,
        equivariant=snakemake.params.equivariant,
    )
    aggregate_f1(study, compared)
