"""The tables of a study as files."""

import json

import numpy as np
import pandas as pd

from equinuclei.analysis.folder import StudyFolder
from equinuclei.analysis.tables import Comparison, aggregate_f1
from support.scores import score


def test_a_failed_training_is_told_in_the_log_the_summary_and_the_tables(tmp_path, caplog):
    rows = [score("otsu", 0, f"i{n}", (80, 10, 10), turn) for n in range(4) for turn in (0, 90, 180, 270)]
    for model, seed in (("net", 0), ("net", 1), ("p4", 0), ("p4", 1)):
        counts = (0, 0, 90) if (model, seed) == ("p4", 1) else (80, 10 + seed, 10)
        agreement = np.nan if (model, seed) == ("p4", 1) else 0.9
        rows += [
            score(model, seed, f"i{n}", counts, turn, agreement=agreement) for n in range(4) for turn in (0, 90, 180)
        ]
        record = {"model": model, "modality": "fluorescent", "seed": seed, "parameters": 10, "gflops": 1.5}
        record |= {"train_seconds": 2.0, "train_cpu_seconds": 3.0}
        (tmp_path / f"{model}{seed}.json").write_text(json.dumps(record))
    scores = pd.DataFrame(rows)
    scores["object50_PQ"] = scores["object50_AP"]
    scores.to_parquet(tmp_path / "scores.parquet")
    scores.drop(columns="pixel_TN").assign(crop=0).to_parquet(tmp_path / "crops.parquet")
    study = StudyFolder(
        tables=tmp_path,
        scores=[tmp_path / "scores.parquet"],
        runs=sorted(tmp_path.glob("*.json")),
        crop_scores=[tmp_path / "crops.parquet"],
    )
    declared = [{"a": "p4", "a_inference": "deployed", "b": "net", "b_inference": "deployed", "measure": "pixel_F1"}]
    aggregate_f1(study, Comparison(["net", "p4"], {"net": "net", "p4": "net"}, declared, ["p4"]))
    told = "1 of 2 trainings of p4 (fluorescent) failed: seed 1 finds nothing."
    assert [message.startswith(told) for message in caplog.messages] == [True]
    assert (tmp_path / "summary.txt").read_text().startswith(told)
    f1 = study.table("f1").set_index("model")
    assert (
        f1["failed"].to_dict() == {"net": 0, "p4": 1, "otsu": 0} and f1.loc["p4", "failure"] == "seed 1 finds nothing"
    )
    contrasts = study.table("contrasts")
    of_p4 = (contrasts["a"] == "p4") | (contrasts["b"] == "p4")
    assert contrasts.loc[of_p4, "verdict"].eq("not decided").all()
    assert contrasts.loc[of_p4, "note"].eq("1 of 2 trainings of p4 failed").all()
    for name in ("f1_difference", "f1_difference_crops"):
        left_out = study.table(name).groupby("model")["left_out"].sum()
        assert left_out["p4"] == 2 * 8 and left_out["net"] == 0
    assert study.differences("f1_differences")["left_out"].sum() == 2 * 8
