"""The part of a converted data set that models are scored on."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from equinuclei.dataset.parts import part_fields, scored_part


@dataclass(frozen=True)
class ScoredPart:
    """The scored part of a converted data set, in one modality.

    targets : the folder of the stores of truths; fields, splits : the tables of the data set
    """

    targets: Path
    fields: Path
    splits: Path
    modality: str

    def rows(self) -> pd.DataFrame:
        """Its rows of fields.tsv, as of `part_fields`. Raises InputError if nothing can be scored."""
        return part_fields(self.fields, self.splits, modality=self.modality, part=scored_part(self.splits))

    @property
    def masks(self) -> Path:
        """The store of true masks, uint8 (n, y, x): above 0 in nuclei."""
        return Path(self.targets) / "binary"

    @property
    def nuclei(self) -> Path:
        """The store of the numbers of true nuclei, integer (n, y, x)."""
        return Path(self.targets) / "instances"

    @property
    def classes(self) -> Path | None:
        """The store of true classes (0 background, 1 border, 2 nucleus), uint8 (n, y, x); None if the set has none."""
        store = Path(self.targets) / "three_class"
        return store if store.is_dir() else None
