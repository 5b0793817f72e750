"""The f1-score difference of two predictions of one image, from their counts."""

import numpy as np
import pandas as pd


def differences_of(pairs: pd.DataFrame, level: str) -> pd.Series:
    """F1 of the reference minus F1 of the other prediction, a row per pair; NaN where one of the F1 is undefined.

    pairs : counts of a prediction as `pixel_TP`, FP and FN, and of the reference as `pixel_TP_reference` and so on, of
    the level ("pixel" or "object50"). F1 is undefined where truth and prediction are both empty. The difference is
    computed as one fraction, see `statistics.f1_difference`.
    """
    hits, total = _fraction(pairs, level, "")
    hits_reference, total_reference = _fraction(pairs, level, "_reference")
    numerator, denominator = hits_reference * total - hits * total_reference, total * total_reference
    return numerator / denominator.where(denominator > 0)


def _fraction(pairs: pd.DataFrame, level: str, suffix: str) -> tuple[pd.Series, pd.Series]:
    """Numerator and denominator (int64) of F1 = 2 TP / (2 TP + FP + FN)."""
    TP, FP, FN = (pairs[f"{level}_{count}{suffix}"].astype(np.int64) for count in ("TP", "FP", "FN"))
    return 2 * TP, 2 * TP + FP + FN
