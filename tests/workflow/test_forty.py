"""The study of forty real images, three seeds: it ends without a collapse, or its page says which training failed."""

import html
import re

import pandas as pd
import pytest
import yaml
from conftest import HERE, snakemake

from project_copy import ROOT

CONFIG = yaml.safe_load((HERE / "forty.yaml").read_text())
REAL = yaml.safe_load((ROOT / "config/real.yaml").read_text())
DATA = (ROOT / REAL["data_root"] / "dsb2018_fluo").resolve()

pytestmark = [
    pytest.mark.nightly,  # minutes
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"needs the fluorescence set of config/real.yaml in {DATA.parent.name}"
    ),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forty")
    chosen = pd.read_csv(HERE / "forty.tsv", sep="\t", dtype=str)
    files = {
        kind: [str(DATA / f"{kind}s" / f"{name}.tif") for name in chosen["image_id"]] for kind in ("image", "mask")
    }
    chosen.assign(modality="fluorescence", **files).to_csv(folder / "images.tsv", sep="\t", index=False)
    snakemake(folder, "study", config={**CONFIG, "data_root": str(folder)})
    return folder / "results/forty"


def answer(results) -> str:
    """The words of the page's answer."""
    text = (results / "report.html").read_text()
    section = text[text.index('<section class="card" id="answer">') :]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", section[: section.index("</section>")])))


def test_no_training_collapses_unsaid(results):
    scores = pd.concat([pd.read_parquet(path) for path in results.glob("models/*/*/seed*/scores.parquet")])
    otsu = pd.read_parquet(next(results.glob("otsu/*/scores.parquet")))
    plain = scores[(scores["rotation"] == 0) & ~scores["mirrored"] & (scores["inference"] == "deployed")]
    f1 = plain.groupby(["model", "seed"])["pixel_F1"].mean()
    assert len(f1) == 6
    floor = otsu.loc[(otsu["rotation"] == 0) & ~otsu["mirrored"], "pixel_F1"].mean()
    collapsed = f1[f1 < 0.5 * floor]
    told = answer(results)
    table = pd.read_csv(results / "tables/f1.tsv", sep="\t")
    failed = table[(table["failed"] > 0) & (table["inference"] == "deployed")]
    assert (len(failed) > 0) == ("failed:" in told)
    for model, seed in collapsed.index:
        assert re.search(rf"trainings? of {model} \(fluorescence\) failed:[^.]*seed {seed} ", told), (model, seed)


def test_the_answer_tells_of_seeds_and_cost(results):
    told = answer(results)
    assert "it costs 6.03 against 1.51 GFLOP, 3.99 times as much" in told and "CPU seconds" in told
    assert "trained with 3 seeds" in told and "seeds would decide" in told
