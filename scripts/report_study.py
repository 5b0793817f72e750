"""Write the page of a data set: the answer, figures, tables, settings, and what they were made from."""

from pathlib import Path

from equinuclei.job import job
from equinuclei.study_page import Shown, write_study_page

with job(snakemake.log[0]):
    shown = {
        kind: [
            Shown(Path(path), title, caption)
            for path, (title, caption) in zip(snakemake.input[kind], snakemake.params[kind], strict=True)
        ]
        for kind in ("tables", "figures", "galleries")
    }
    write_study_page(
        snakemake.output.page,
        tables_shown=shown["tables"],
        figures=shown["figures"],
        galleries=shown["galleries"],
        provenance=snakemake.input.provenance,
        fields=snakemake.input.fields,
        splits=snakemake.input.splits,
        runs=snakemake.input.runs,
    )
