"""The files of a study's data set, by what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from equinuclei.runtime.provenance import read_run
from equinuclei.tables.files import read_table


@dataclass(frozen=True)
class StudyFolder:
    """Where the results of a data set lie. A job names those files that it uses.

    tables : folder of `<name>.tsv`, `<name>.parquet` and summary.txt
    scores : scores.parquet of every training and of Otsu's threshold
    runs : run.json of every training
    crop_scores, histories, examples : crop_scores.parquet, history.csv and examples.npz of the trainings, in the order
        of `runs`

    What it reads, it reads once. Raises InputError for a file that is missing or broken.
    """

    tables: Path
    scores: Sequence[str | Path] = ()
    runs: Sequence[str | Path] = ()
    crop_scores: Sequence[str | Path] = ()
    histories: Sequence[str | Path] = ()
    examples: Sequence[str | Path] = ()

    def table_file(self, name: str) -> Path:
        """Path of a text table by its name, such as "f1"."""
        return self.tables / f"{name}.tsv"

    def table(self, name: str) -> pd.DataFrame:
        """A text table by its name."""
        return read_table(self.table_file(name), f"study/{name}.tsv")

    def differences_file(self, name: str) -> Path:
        """Path of a table of single differences by its name, such as "f1_differences"."""
        return self.tables / f"{name}.parquet"

    def differences(self, name: str) -> pd.DataFrame:
        """A table of single differences by its name."""
        return pd.read_parquet(self.differences_file(name))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """run.json of every training."""
        return [read_run(path) for path in self.runs]

    @cached_property
    def all_scores(self) -> pd.DataFrame:
        """The scores of all trainings and of Otsu's threshold."""
        return _joined(self.scores)

    @cached_property
    def all_crop_scores(self) -> pd.DataFrame:
        """The scores of crops of all trainings."""
        return _joined(self.crop_scores)

    @cached_property
    def history(self) -> pd.DataFrame:
        """The histories of all trainings, with model, modality and seed."""
        names = ("model", "modality", "seed")
        return pd.concat(
            [
                read_table(path, "study/history.csv").assign(**{name: record[name] for name in names})
                for path, record in zip(self.histories, self.records, strict=True)
            ],
            ignore_index=True,
        )


def _joined(paths: Sequence[str | Path]) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
