"""A refactoring is acknowledged only where two studies hold the same bytes."""

import json
import subprocess
import zipfile

import onnx
import pytest
import yaml

import acknowledge_refactoring as command
from equinuclei.runtime.equivalent_code import TABLE, read_equivalents
from equinuclei.specs import ARCHITECTURES, TARGETS
from exports import onnx_without_places, zip_without_places

BEFORE = {("train_model", "unet"): "a", ("train_model", "simplified"): "b", ("train_model", "simplified-bn"): "b",
          ("score_test", "unet"): "c", ("split_dataset", ""): "d"}  # fmt: skip
AFTER = {**BEFORE, ("train_model", "simplified"): "e", ("train_model", "simplified-bn"): "e",
         ("score_test", "unet"): "f", ("new_rule", ""): "g"}  # fmt: skip


def test_the_study_runs_every_architecture_and_target():
    models = yaml.safe_load((command.ROOT / "config/acknowledge.yaml").read_text())["models"]
    assert {model["architecture"] for model in models} == {*ARCHITECTURES}
    assert {model.get("target", "binary") for model in models} == {*TARGETS}
    assert all(model["name"].split("_")[0] == model["architecture"] for model in models)


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two commits on `main`."""
    root = tmp_path / "project"
    (root / "workflow").mkdir(parents=True)
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(root))
    for text in ("before", "after"):
        (root / "code.py").write_text(text)
        git(root, "add", "code.py")
        git(root, "commit", "--quiet", "--message", text)
    monkeypatch.setattr(command, "ROOT", root)
    return root


@pytest.fixture
def acknowledge(project, tmp_path, monkeypatch):
    """Acknowledge with pretended studies: `acknowledge(results of the working tree)`."""

    def call(*, files=(), digests=(BEFORE, AFTER, AFTER)):
        told = iter(digests)
        monkeypatch.setattr(command, "digests_of", lambda *_: (next(told), {"train_model", "unrun"}))

        def run(folder, *_, project, **__):
            made = {"tiny/weights": "1", "tiny/run.json": json.dumps({"seed": 0, "code_version": str(project)})}
            for name, text in (made | (dict(files) if project == command.ROOT else {})).items():
                path = folder / "results" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

        monkeypatch.setattr(command, "run_study", run)
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        return command.acknowledge("HEAD~", work, tmp_path / "study.yaml", 1)

    return call


def test_equal_results_record_what_changed(acknowledge, project, capsys):
    assert acknowledge() == 0
    assert read_equivalents(project / TABLE) == {("train_model", "e"): "b", ("score_test", "f"): "c"}
    rows = (project / TABLE).read_text().splitlines()
    assert rows[1].startswith("score_test\t\tf\tc\tstudy: ")
    assert "train_model\tsimplified,simplified-bn\te\tb\tstudy: 1 files identical, 1 but for times" in rows[2]
    assert "does not run it with both codes: unrun" in capsys.readouterr().out


@pytest.mark.parametrize("files", [{"tiny/weights": "2"}, {"tiny/run.json": '{"seed": 1}'}, {"tiny/more": "1"}])
def test_a_file_that_differs_is_told_and_records_nothing(acknowledge, project, capsys, files):
    assert acknowledge(files=files) == 1
    said = capsys.readouterr()
    assert f"DIFFERS: {next(iter(files))}" in said.out and "NOTHING is recorded" in said.err
    assert not (project / TABLE).exists()


def test_code_that_changes_meanwhile_records_nothing(acknowledge, project):
    with pytest.raises(command.InputError, match="changed while the study ran"):
        acknowledge(digests=(BEFORE, AFTER, BEFORE))
    assert not (project / TABLE).exists()


def test_equal_digests_run_nothing(acknowledge, project, capsys):
    assert acknowledge(digests=(BEFORE, BEFORE)) == 0
    assert "nothing to acknowledge" in capsys.readouterr().out and not (project / TABLE).exists()


def test_the_base_is_where_the_work_began(project):
    assert command.choose_base() == "HEAD~"
    main = command.git("rev-parse", "HEAD", folder=project)
    git(project, "switch", "--quiet", "--create", "branch")
    for text in ("one", "two"):
        (project / "code.py").write_text(text)
        git(project, "commit", "--quiet", "--all", "--message", text)
    assert command.choose_base() == main
    (project / "code.py").write_text("three")
    assert command.choose_base() == "HEAD"


def test_versions_of_the_code_are_no_difference(tmp_path):
    page = tmp_path / "report.html"
    page.write_text("<td>0.1.0 (0123456789ab-dirty)</td><td>0.1.0 (v0.1.0-3-g0123456789ab)</td><td>F1 0.5</td>")
    assert command.page_without_code(page) == "<td></td><td></td><td>F1 0.5</td>"


def onnx_file(path, weight=1.0, place="a.py, line 1"):
    node = onnx.helper.make_node("Identity", ["weight"], ["out"], doc_string=place)
    onnx.helper.set_model_props(
        model := onnx.helper.make_model(
            onnx.helper.make_graph(
                [node],
                "graph",
                [],
                [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1])],
                [onnx.helper.make_tensor("weight", onnx.TensorProto.FLOAT, [1], [weight])],
            )
        ),
        {"place": place},
    )
    path.write_bytes(model.SerializeToString())


def package(path, folder, weight=1.0, place="a.py, line 1"):
    """A program with its ONNX file in one archive."""
    onnx_file(path.with_suffix(".onnx"), weight, place)
    node = {"target": "relu", "metadata": {"stack_trace": place, "nn_module_stack": folder, "other": 1}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/archive_format", "pt2")
        archive.writestr(f"{folder}/.data/serialization_id", folder)
        archive.writestr(f"{folder}/models/model.json", json.dumps({"nodes": [node]}))
        archive.write(path.with_suffix(".onnx"), f"{folder}/model.onnx")
        archive.writestr(f"{folder}/rdf.yaml", f"model: m\nsha256: {hash(place) % 10:064d}\n")


def test_places_in_the_code_are_no_difference_between_exports(tmp_path):
    paths = [tmp_path / name for name in ("a.zip", "b.zip", "c.zip")]
    package(paths[0], "one")
    package(paths[1], "two", place="b.py, line 2")
    package(paths[2], "one", weight=2.0)
    first, moved, other = map(zip_without_places, paths)
    assert first == moved != other
    first, moved, other = (onnx_without_places(path.with_suffix(".onnx")) for path in paths)
    assert first == moved != other
