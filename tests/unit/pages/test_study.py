"""The page of a study: the answer in words, what is told of it, and the page in a real browser."""

import html
import json
import re

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest

from equinuclei.analysis.contrasts import contrast_table, contrasts_by_cell_line, image_values, interval_table
from equinuclei.analysis.failures import failed_trainings, find_failures
from equinuclei.analysis.folder import StudyFolder
from equinuclei.analysis.statistics import f1_difference_table, f1_table
from equinuclei.pages.study import Shown, write_study_page
from equinuclei.pages.study_answers import _against
from equinuclei.tables.files import write_table
from support.browser import HOSTILE, in_browser
from support.scores import cost, score

PLAIN = HOSTILE
CAPTION = "What `f1` <b>shows</b>."


def contrast(a, b, measure, a_inference="deployed"):
    return {"a": a, "a_inference": a_inference, "b": b, "b_inference": "deployed", "measure": measure}


DECLARED = [contrast("p4", PLAIN, "pixel_F1"), contrast("p4", PLAIN, "pixel_difference")]


def scores(seeds, lines, collapsed=()):
    random = np.random.default_rng(0)
    rows = []
    for model, seed in [(PLAIN, seed) for seed in seeds] + [("p4", seed) for seed in seeds] + [("otsu", 0)]:
        for number in range(12):
            for rotation in (0, 90, 180, 270):
                level = {PLAIN: random.integers(60, 70), "p4": 90, "otsu": 20}[model]
                counts, agreement = (int(level), 5, 5 + number), 1.0 if model != PLAIN else 0.9
                if (model, seed) in collapsed:
                    counts, agreement = (0, 0, 80), np.nan
                line = lines[number % len(lines)]
                row = score(model, seed, f"i{number}", counts, rotation, agreement=agreement, line=line)
                rows.append(row | {"object50_PQ": row["object50_AP"]})
    return pd.DataFrame(rows)


def settings(seeds, declared, rates):
    spec = {"architecture": "simplified", "group": "trivial", "widths": [2, 4], "augmentation": "none"}
    training = {"epochs": 3, "crop": 32, "batch_size": 2, "learning_rate": 0.1, "schedule": "cosine"}
    models = {
        name: {"spec": spec | {"group": group}, "training": training, "inference": ["deployed"], "instances": None}
        for name, group in ((PLAIN, "trivial"), ("p4", "p4"))
    }
    dataset = {
        "name": "demo",
        "source": {"layout": "folder", "path": HOSTILE},
        "mask": {"kind": "binary"},
        "split": [1],
    }
    config = {"dataset": dataset, "models": models, "contrasts": declared, "evaluation": {"mirrored": False}}
    config |= {"seeds": seeds, "split_seed": 7}
    runs = [
        {"model": name, "training": training, "parameters": 1234567, "gflops": 1.5, "learning_rate_chosen_from": rates}
        for name in models
    ]
    return config, runs


def page(folder, seeds=(0, 1), declared=tuple(DECLARED), scored="test", rates=None, lines=("a", "b"), collapsed=()):
    found = scores(seeds, lines, collapsed)
    failures = find_failures(found, {"p4": PLAIN, PLAIN: PLAIN})
    costs = pd.DataFrame([cost(model, seed, 1.0) for model in (PLAIN, "p4") for seed in seeds])
    values, order, failed = image_values(found), [PLAIN, "p4"], failed_trainings(failures)
    tables = {
        "f1": f1_table(found, costs, order, failures),
        "contrasts": contrast_table(values, declared, ["p4"], order, failed),
        "f1_difference": f1_difference_table(found, costs, order, failures),
        "intervals": interval_table(values, order, failed),
        "contrasts_by_cell_line": contrasts_by_cell_line(values, declared, ["p4"], order, failed),
        "f1_difference_crops": pd.DataFrame(columns=["dataset", "modality"]),
    }
    for name, table in tables.items():
        write_table(table, folder / f"{name}.tsv")
    (folder / "contours").mkdir()
    (folder / "crops").mkdir()
    picture = np.full((30, 1300, 4), 200, np.uint8)
    for path in ("f1.png", "contours/m_p4.png"):
        iio.imwrite(folder / path, picture)
    config, runs = settings(list(seeds), list(declared), rates)
    training = {"train_seconds": 5000, "train_cpu_seconds": 9000, "hardware": {"processor": "a chip"}}
    training |= {"code_version": "1.0 (abc)", "packages": {"numpy": "9.9"}}
    record = {"config": config, "code_version": "1.0 (abc)", "trainings": [training, training]}
    (folder / "provenance.json").write_text(json.dumps(record | {"files": {HOSTILE: "0f" * 32}, "stores": {}}))
    paths = []
    for number, run in enumerate(runs):
        paths.append(folder / f"run{number}.json")
        paths[-1].write_text(json.dumps(run))
    parts = [scored, "train", "train"] + (["val"] if scored == "test" else [])
    rows = [
        {"image_id": f"i{n}", "cell_line": lines[n % len(lines)], "group": f"g{n}", "part": p}
        for n, p in enumerate(parts)
    ]
    pd.DataFrame(rows).to_csv(folder / "splits.tsv", sep="\t", index=False)
    more = dict.fromkeys(("split", "dtype", "image_file", "image_sha256", "mask_file", "mask_sha256", "array"), "")
    more |= {"modality": "fluorescent", "row": 0, "height": 30, "width": 40}
    pd.DataFrame([row | more for row in rows]).to_csv(folder / "fields.tsv", sep="\t", index=False)
    write_study_page(
        folder / "report.html",
        StudyFolder(tables=folder, runs=paths),
        tables_shown=[Shown(folder / f"{name}.tsv", f"Table {name}", CAPTION) for name in tables],
        figures=[Shown(folder / "f1.png", "F1 figure", CAPTION)],
        galleries=[Shown(folder / name, f"Gallery {name}", CAPTION) for name in ("contours", "crops")],
        provenance=folder / "provenance.json",
        fields=folder / "fields.tsv",
        splits=folder / "splits.tsv",
    )
    return folder / "report.html"


def words(path):
    """The text of a page, its markup and scripts left out."""
    body = re.sub(r"<(script|style)>.*?</\1>", "", path.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", body)))


def test_the_answer_comes_first_and_in_words(tmp_path):
    text = words(page(tmp_path))
    answer = text[text.index("Answer", text.index("Columns")) : text.index("What limits it")]
    assert "Of 2 declared contrasts, the first model is: 2 better." in answer
    contrasts = pd.read_csv(tmp_path / "contrasts.tsv", sep="\t")
    first = contrasts.iloc[0]
    assert f"p4 is better than {PLAIN} by F1 by pixels: {first['a_value']:.4g} against {first['b_value']:.4g}" in answer
    assert f"(95 % interval +{first['low']:.4f} to +{first['high']:.4f})" in answer
    assert "p4: zero to rounding by its symmetry, and on every image counted; nothing is tested." in answer
    assert "by construction: p4" not in answer and "100 %" in answer and "Otsu's threshold reaches" in answer
    bound = 100 * (1 - 0.05 ** (1 / 72))
    assert f"differ in 0 of 72 comparisons (at 95 % below {bound:.2g} %)." in answer
    shares = pd.read_csv(tmp_path / "f1_difference.tsv", sep="\t").set_index(["model", "level"])["exact_zeros"]
    assert f"Exactly as before in {100 * shares[PLAIN, 'pixel']:.2f} % of the rotations by pixels" in answer


def answer_of(path):
    text = words(path)
    return text[text.index("Answer", text.index("Columns")) : text.index("What limits it")]


def test_a_failed_training_is_the_first_thing_that_the_answer_says(tmp_path):
    path = page(tmp_path, collapsed=[("p4", 1)])
    assert answer_of(path).startswith(
        "Answer fluorescent 1 of 2 trainings of p4 (fluorescent) failed: seed 1 finds nothing. Its numbers are no evid"
    )
    assert "the first model is: 2 not decided." in answer_of(path)
    assert answer_of(path).count("1 of 2 trainings of p4 failed.") == 2
    assert "Highest F1 by pixels as deployed: p4" not in answer_of(path)
    assert "differ in 0 of 36 comparisons" in answer_of(path)
    text = path.read_text()
    assert text.count('<p class="failed" role="alert">') == 1
    assert '<span class="failed">p4, failed trainings</span>' in text


def test_where_every_training_failed_nothing_is_said_of_steadiness(tmp_path):
    answer = answer_of(page(tmp_path, collapsed=[("p4", 0), ("p4", 1)]))
    assert "2 of 2 trainings of p4 (fluorescent) failed: seed 0 finds nothing; seed 1 finds nothing. Their" in answer
    assert "Nothing can be said of p4: empty predictions and failed trainings" in answer
    assert "Always" not in answer and "p4100 %" not in answer and "To rounding" not in answer


def test_limits_and_what_was_tuned_are_told(tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    one = words(page(tmp_path / "one", seeds=(0,), declared=()))
    assert "trained with one seed" in one and "No contrast was declared" in one
    assert "given in the configuration" in one and "nothing was tuned on the scored part (test)" in one
    two = words(page(tmp_path / "two"))
    assert "trained with one seed" not in two and "trained with 2 seeds" in two and "epochs: where their loss" in two
    assert "The val part is shown in the training curves" in two
    three = words(page(tmp_path / "three", scored="val", rates=[0.1, 0.2]))
    assert "The set has no test part" in three and "was chosen from candidates" in three


def test_cell_lines_are_names_whatever_they_look_like(tmp_path):
    names = ["None", "NA", "nan", "1e5", "007"]
    text = page(tmp_path, lines=names).read_text()
    table = text[text.index('id="table-contrasts_by_cell_line"') : text.index('id="settings"')]
    assert set(re.findall(r"<tr><td>([^<]*)</td>", table)) == set(names)
    parts = text[text.index('id="parts"') :]
    assert re.findall(r"<tr><td>([^<]*)</td>", parts[: parts.index("</table>")])[:-1] == sorted(names[:4])


def test_in_a_browser_every_image_loads_and_a_click_sorts(tmp_path):
    script = """
    const images = [...document.images];
    document.body.dataset.images = images.filter(image => image.complete && image.naturalWidth > 0).length;
    const table = document.querySelector("#table-f1 table"), heads = [...table.tHead.rows[0].cells];
    const column = heads.findIndex(head => head.textContent === "pixel_F1");
    const button = heads[column].querySelector("button");
    const shown = () => [...table.tBodies[0].rows].map(row => row.cells[column].textContent).join(" ");
    button.click();
    document.body.dataset.up = shown();
    button.focus();
    document.body.dataset.focused = document.activeElement === button;
    button.click();
    document.body.dataset.down = shown() + " " + heads[column].ariaSort
    """
    path = page(tmp_path)
    dom, failures = in_browser(path, script)
    assert failures == []
    found = dict(re.findall(r'data-(images|up|down|focused)="([^"]*)"', dom))
    assert found["images"] == "2" and path.read_text().count("<img") == 2
    values = pd.read_csv(tmp_path / "f1.tsv", sep="\t")["pixel_F1"]
    up = [f"{value:#.4g}" for value in sorted(values)]
    assert found["up"].split() == up and found["down"].split() == [*up[::-1], "descending"]
    assert found["focused"] == "true"  # a button: the keyboard presses it too


def test_numbers_are_sorted_as_numbers_and_what_is_missing_stays_last(tmp_path):
    script = """
    const table = document.createElement("table"), head = table.createTHead().insertRow();
    head.append(document.createElement("th"));
    const body = table.createTBody();
    for (const value of ["10", "", "9", "-1e-3"]) body.insertRow().insertCell().dataset.value = value;
    document.body.append(table);
    sortable(table);
    const order = () => [...body.rows].map(row => row.cells[0].dataset.value).join(",");
    head.querySelector("button").click();
    document.body.dataset.up = order();
    head.querySelector("button").click();
    document.body.dataset.down = order()
    """
    dom, failures = in_browser(page(tmp_path), script)
    assert failures == []
    assert re.search(r'data-up="([^"]*)"', dom)[1] == "-1e-3,9,10,"
    assert re.search(r'data-down="([^"]*)"', dom)[1] == "10,9,-1e-3,"


def test_what_comes_from_disk_is_text_and_nothing_is_loaded(tmp_path):
    path = page(tmp_path)
    dom, failures = in_browser(path)
    assert failures == [] and "<title>hacked" not in dom
    assert html.unescape(words(path)).count(HOSTILE) > 5
    text = path.read_text()
    assert "default-src 'none'" in text and not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text)
    assert "What <code>f1</code> &lt;b&gt;shows&lt;/b&gt;." in text


def test_settings_parts_provenance_and_columns_are_there(tmp_path):
    path = page(tmp_path)
    text = words(path)
    for told in ("1,234,567", "quarter turns (p4)", "2 4", "numpy 9.9", "a chip", "1.0 (abc)", "0f" * 32, "2.8 hours"):
        assert told in text, told
    assert re.search(r"all ?2 \(2\)", text)  # two fields of two groups to train on
    assert 'title="F1 by pixels, mean over images, then over seeds [0 to 1]"' in path.read_text()
    assert "Table f1_difference_crops" not in text and "Gallery crops" not in text  # nothing is in them
    assert "Gallery contours (1)" in text


def test_every_column_on_the_page_says_what_it_means(tmp_path):
    text = page(tmp_path).read_text()
    for name in ("contrasts", "contrasts_by_cell_line", "f1", "f1_difference", "intervals"):
        table = text[text.index(f'id="table-{name}"') :]
        heads = re.findall(r"<th(?: [^>]*)?>", table[: table.index("</thead>")])
        assert len(heads) >= 5 and all(re.search(r'title="[^"]+"', head) for head in heads), name


def test_what_is_the_same_in_every_row_of_a_table_is_told_once(tmp_path):
    path = page(tmp_path)
    text = path.read_text()
    section = text[text.index('id="table-f1"') :]
    section = section[: section.index("</table>")]
    assert "<code>modality</code> fluorescent" in section and "<code>images</code> 12" in section
    heads = re.sub(r"<(?!th)[^>]*>", "", section[section.index("<thead>") : section.index("</thead>")])
    assert ">train_cpu_seconds<" in heads and ">modality<" not in heads and ">pixel_F1<" in heads


def test_the_answer_names_the_cost(tmp_path):
    path = page(tmp_path)
    text = words(path)
    answer = text[text.index("Answer", text.index("Columns")) : text.index("What limits it")]
    assert "Per image of 256 x 256 pixels it costs 24.1 against 24.1 GFLOP, the same." in answer
    costs = answer[answer.index("What do they cost?") : answer.index("Training: mean over seeds")]
    assert "GFLOP" in costs and "CPU seconds" in costs and "p41,940,00124.112" in costs
    # What a clock says is marked, so that two runs can be compared without it.
    table = path.read_text()
    table = table[table.index("sortable narrow costs") :]
    assert table[: table.index("</table>")].count('class="measured"') == 4


@pytest.mark.parametrize("costs", [(1.5, 6.0, "0.25 times as much"), (6.0, 1.5, "4 times as much"), (None, 1.5, "")])
def test_costs_are_compared(costs):
    a, b, told = costs
    assert told in _against(a, b) and bool(_against(a, b)) == (a is not None)
