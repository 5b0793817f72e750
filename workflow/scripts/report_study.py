"""Write the page of a data set: the answer, figures, tables, settings, and what they were made from."""

from pathlib import Path

from equinuclei.analysis.folder import StudyFolder
from equinuclei.pages.study import Shown, write_study_page
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    shown = {
        kind: [
            Shown(Path(path), title, caption)
            for path, (title, caption) in zip(snakemake.input[kind], snakemake.params[kind], strict=True)
        ]
        for kind in ("tables", "figures", "galleries")
    }
    study = StudyFolder(tables=Path(snakemake.input.tables[0]).parent, runs=snakemake.input.runs)
    write_study_page(
        snakemake.output.page,
        study,
        tables_shown=shown["tables"],
        figures=shown["figures"],
        galleries=shown["galleries"],
        provenance=snakemake.input.provenance,
        fields=snakemake.input.fields,
        splits=snakemake.input.splits,
    )
