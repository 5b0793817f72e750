"""How many seeds the declared contrasts of a study would need, in words, from the variances that it found."""

import numpy as np
import pandas as pd

from equinuclei.analysis.contrasts import DECIDED, SCORES
from equinuclei.analysis.resampling import MOST_SEEDS


def seed_cautions(contrasts: pd.DataFrame) -> list[str]:
    """A sentence per modality whose declared contrasts on scores have too few seeds to decide a difference of DECIDED.

    contrasts : table of `equinuclei.analysis.contrasts.contrast_table` for one data set.
    """
    declared = contrasts[(contrasts["kind"] == "declared") & contrasts["measure"].isin(SCORES)]
    found = []
    for modality, rows in declared.dropna(subset="seeds_needed").groupby("modality", sort=False):
        seeds, needed = int(rows["seeds"].max()), rows["seeds_needed"].to_numpy(float)
        enough = needed[np.isfinite(needed) & (needed > seeds)]
        if (never := int(np.isinf(needed).sum())) + len(enough) == 0:
            continue
        sentence = (
            f"{modality}: with {seeds} seeds, {never + len(enough)} of {len(needed)} declared contrasts on scores "
            f"cannot decide a difference of {DECIDED:g}."
        )
        if len(enough):
            least, most = int(enough.min()), int(enough.max())
            sentence += f" About {least if least == most else f'{least} to {most}'} seeds would decide {len(enough)}."
        if never:
            sentence += f" {MOST_SEEDS} seeds would not decide {never}: that takes more groups of images."
        if seeds == 2:
            sentence += " How much trainings differ is known from two alone, and so is this number but roughly."
        found.append(sentence)
    return found
