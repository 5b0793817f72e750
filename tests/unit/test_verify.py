"""`make verify` tells what may differ between two runs from what may not."""

import json

import pytest

from verify_reproducibility import compare


@pytest.fixture
def folders(tmp_path):
    for name, seconds in (("a", 1.5), ("b", 2.5)):
        study = tmp_path / name / "tiny"
        (study / "tables").mkdir(parents=True)
        (study / "run.json").write_text(
            json.dumps(
                {
                    "seed": 0,
                    "resumed_after_epoch": int(seconds),
                    "runs": [{"train_seconds": seconds, "train_cpu_seconds": 2 * seconds}],
                }
            )
        )
        (study / "tables" / "f1.tsv").write_text(f"model\tF1\ttrain_seconds\nnet\t0.5\t{seconds}\n")
        (study / "report.html").write_text(f'<td>0.5</td><td class="measured" data-value="{seconds}">{seconds}</td>')
        (study / "weights.safetensors").write_bytes(b"weights")
    return tmp_path / "a", tmp_path / "b"


def test_times_may_differ(folders):
    identical, allowed, wrong = compare(*folders)
    assert identical == ["tiny/weights.safetensors"] and not wrong
    told = ["tiny/report.html", "tiny/run.json", "tiny/tables/f1.tsv"]
    assert sorted(name for names in allowed.values() for name in names) == told


@pytest.mark.parametrize(
    "name, content",
    [
        ("weights.safetensors", "other"),
        ("report.html", '<td>0.6</td><td class="measured" data-value="1">1</td>'),
        ("run.json", '{"seed": 1, "resumed_after_epoch": 1, "runs": [{"train_seconds": 1}]}'),
        ("tables/f1.tsv", "model\tF1\ttrain_seconds\nnet\t0.6\t1.5\n"),
    ],
)
def test_anything_else_may_not(folders, name, content):
    (folders[1] / "tiny" / name).write_text(content)
    assert compare(*folders)[2] == [f"tiny/{name}"]


def test_a_file_of_one_run_alone_is_told(folders):
    (folders[1] / "tiny" / "weights.safetensors").unlink()
    assert compare(*folders)[2] == ["tiny/weights.safetensors (in one of them only)"]
