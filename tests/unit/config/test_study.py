"""The configuration: what is expanded, and what is refused in plain words."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from equinuclei.config.schema import complete
from equinuclei.config.study import Study
from equinuclei.errors import InputError
from equinuclei.file_names import PAGES, READY_PATTERNS
from equinuclei.sources.plates import LAYOUTS
from equinuclei.specs import INFERENCES, INSTANCES, OTSU, TARGETS, ModelSpec, resolve_spec

ROOT = Path(__file__).parents[3]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text())


# What a run is trained with where no candidates are given.
ONE_RATE = {key: value for key, value in DEFAULT["training"].items() if key != "tuning_epochs"} | {"learning_rate": 0.1}


def merge(base, change):
    """Merge as Snakemake does: mappings key by key, all else replaced."""
    base = base if isinstance(base, dict) else {}
    for key, value in change.items():
        base[key] = merge(base.get(key, {}), value) if isinstance(value, dict) else value
    return base


def study(**changes):
    return Study(merge(copy.deepcopy(DEFAULT), changes), SCHEMA)


def test_the_configuration_is_read_where_snakemake_alone_is_installed():
    modules = re.findall(
        r"^from (equinuclei\S*) import", (ROOT / "workflow/rules/common.smk").read_text(), re.MULTILINE
    )
    assert "equinuclei.config.study" in modules
    script = (
        "import importlib, sys\n"
        "sys.modules.update(dict.fromkeys(('numpy', 'pandas', 'torch', 'zarr', 'skimage')))\n"  # cannot be imported
        "[importlib.import_module(name) for name in sys.argv[1:]]"
    )
    done = subprocess.run([sys.executable, "-c", script, *modules], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [path.name for path in sorted((ROOT / "config").glob("*.yaml"))])
def test_every_shipped_configuration_is_valid(name):
    shipped = study(**yaml.safe_load((ROOT / "config" / name).read_text()))
    assert shipped.runs
    for contrast in shipped.contrasts:  # or a verdict on symmetry would be one on batch norm or strides
        specs = [shipped.models[contrast[end]].spec for end in "ab" if contrast[end] != OTSU]
        if len({spec.group for spec in specs}) > 1:
            assert len({spec.architecture for spec in specs}) == 1, contrast


def test_a_study_gives_every_key_of_a_training_and_a_model_may_change_most():
    keys = complete(SCHEMA)["$defs"]["training"]["required"]
    assert {*keys} == DEFAULT["training"].keys()
    changes = complete(SCHEMA)["$defs"]["training_changes"]
    assert {*keys} - changes["properties"].keys() == {"device", "devices", "torch_threads", "deterministic"}
    assert "required" not in changes


def test_the_layouts_of_the_schema_are_those_of_the_readers():
    names, mapping = SCHEMA["properties"]["plates"]["properties"]["layout"]["oneOf"]
    assert names["enum"] == [None, *LAYOUTS]
    keys = mapping["properties"]
    assert keys["name"]["enum"] == [*READY_PATTERNS] and tuple(keys["pages"]["enum"]) == PAGES


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"pattern": r"(?P<wall>[A-P]\d+)_w\d\.tif"}, "Did you mean 'well'"),
        ({"pattern": r"(?P<well>[A-P]\d+"}, "is not a regular expression"),
        ({"pattern": r"(?P<field>\d+)\.tif"}, "does not tell the well"),
        ({"name": "incel"}, "incell"),
        ({"pages": "z"}, "either 'pattern'"),
        ({"patern": "x"}, "did you mean 'pattern'"),
        ("harmon", "harmony"),
    ],
)
def test_a_layout_that_cannot_be_used_is_refused_before_work_starts(layout, message):
    with pytest.raises(InputError, match=message):
        study(plates={**DEFAULT["plates"], "layout": layout})


@pytest.mark.parametrize(
    "layout", [{"pattern": r"(?P<well>[A-P]\d+)_s(?P<field>\d+)\.tif", "pages": "z"}, {"name": "incell"}, "scanr", None]
)
def test_a_layout_is_a_name_or_says_how_files_are_named(layout):
    assert study(plates={**DEFAULT["plates"], "layout": layout}).plates.section["layout"] == layout


def test_a_study_has_a_run_per_dataset_model_modality_and_seed():
    expanded = study(seeds=[0, 1], models=["unet", "simplified-p4"])
    assert len(expanded.runs) == 2 * 2 * 2 and len(set(expanded.runs)) == 8


def test_a_model_may_differ_from_its_preset_and_from_the_training_settings():
    models = ["simplified-p4", {"name": "slow", "preset": "simplified-p4", "widths": [2, 4], "training": {"epochs": 3}}]
    expanded = study(models=models, training={"learning_rate": 0.1})
    assert expanded.models["slow"].spec.widths == (2, 4) and expanded.models["slow"].spec.group == "p4"
    assert expanded.training_of("seven_cell_lines", "slow") == {**ONE_RATE, "epochs": 3}
    assert expanded.training_of("seven_cell_lines", "simplified-p4") == ONE_RATE


def test_a_data_set_may_be_trained_on_differently():
    dataset = {**DEFAULT["datasets"][0], "training": {"crop": 512, "epochs": 9}}
    models = ["unet", {"name": "unet-p4", "training": {"epochs": 3}}]
    expanded = study(datasets=[dataset], models=models, training={"learning_rate": 0.1})
    assert expanded.training_of("seven_cell_lines", "unet") == {**ONE_RATE, "crop": 512, "epochs": 9}
    assert expanded.training_of("seven_cell_lines", "unet-p4")["epochs"] == 3  # the model has the last word


def test_a_named_preset_may_carry_training_settings_alone():
    expanded = study(models=[{"name": "unet-aug", "training": {"learning_rate": 0.1}}])
    assert expanded.models["unet-aug"].spec.augmentation == "dihedral"


def test_a_model_named_after_a_preset_may_change_it():
    expanded = study(models=[{"name": "unet-p4", "widths": [2, 2]}])
    assert expanded.models["unet-p4"].spec == ModelSpec("unet", "p4", (2, 2))


DERIVING = {
    "learning_curve": {"models": ["unet", "unet-p4"], "groups": [16, 4]},
    "leave_one_cell_line_out": {"models": ["unet-p4"], "cell_lines": ["HeLa", "MCF 7"]},
}


def test_models_are_derived_for_learning_curves_and_cell_lines_left_out():
    models = [{"name": "unet", "training": {"epochs": 3}, "instances": "watershed"}, "unet-p4"]
    plain, deriving = study(models=models), study(models=models, **DERIVING)
    derived = ["unet_4groups", "unet_16groups", "unet-p4_4groups", "unet-p4_16groups"]
    derived += ["unet-p4_without-HeLa", "unet-p4_without-MCF-7"]
    assert list(deriving.trained) == ["unet", "unet-p4", *derived]
    assert {run.model for run in deriving.derived_runs} == set(derived)
    assert len(deriving.derived_runs) == len(set(deriving.derived_runs)) == 6 * 2 * 5
    of_four = deriving.trained["unet_4groups"]
    assert (
        of_four.subset == {"groups": 4}
        and of_four.spec == plain.models["unet"].spec
        and of_four.instances == "watershed"
    )
    assert deriving.training_of("seven_cell_lines", "unet_4groups") == plain.training_of("seven_cell_lines", "unet")
    assert deriving.inference_of("unet_4groups") == plain.inference_of("unet")
    assert [(point["name"], point["model"], point["subset"]) for point in deriving.curve][:3] == [
        ("unet_4groups", "unet", "4groups"), ("unet_16groups", "unet", "16groups"), ("unet", "unet", "all")
    ]  # fmt: skip
    assert [point.get("without") for point in deriving.left_out] == ["HeLa", "MCF 7", None]
    assert deriving.subsets == {
        "4groups": {"groups": 4}, "16groups": {"groups": 16}, "all": {},
        "without-HeLa": {"without": "HeLa"}, "without-MCF-7": {"without": "MCF 7"},
    }  # fmt: skip
    # The models of the study are what they are without the options.
    assert deriving.models == plain.models and deriving.runs == plain.runs
    resolved, before = (of.resolved("seven_cell_lines") for of in (deriving, plain))
    assert resolved["models"].pop("unet_4groups")["subset"] == {"groups": 4}
    assert {name: resolved["models"][name] for name in before["models"]} == before["models"]
    assert {**resolved, "models": before["models"]} == before


def test_nothing_is_derived_by_default():
    assert not study().subsets and not study().derived_runs and study().trained == study().models


def test_a_full_study_has_five_seeds():
    assert study().seeds == [0, 1, 2, 3, 4]


def test_a_model_may_have_a_target_and_a_way_to_nuclei_of_its_own():
    models = ["unet", {"name": "unet-p4", "target": "distance"}, {"name": "unet-aug", "instances": "watershed"}]
    expanded = study(models=models).models
    assert [model.spec.target for model in expanded.values()] == ["binary", "distance", "binary"]
    assert [model.instances for model in expanded.values()] == [None, None, "watershed"]
    assert study(models=models).resolved("seven_cell_lines")["models"]["unet-aug"]["instances"] == "watershed"


def test_the_schema_knows_every_target_and_way_to_nuclei():
    model = SCHEMA["$defs"]["model"]["properties"]
    assert model["target"]["enum"] == list(TARGETS) and model["instances"]["enum"] == list(INSTANCES)


def test_a_list_of_learning_rates_is_one_of_candidates():
    models = ["unet", {"name": "unet-p4", "training": {"learning_rate": [0.1, 0.01], "tuning_epochs": 2}}]
    expanded = study(models=models, training={"learning_rate": 0.1})
    assert expanded.candidates("seven_cell_lines", "unet") == []
    assert expanded.candidates("seven_cell_lines", "unet-p4") == [0.01, 0.1]  # whatever their order
    assert expanded.training_of("seven_cell_lines", "unet-p4") == {**ONE_RATE, "learning_rate": [0.01, 0.1]}
    tuned = expanded.tuning_of("seven_cell_lines", "unet-p4")
    assert tuned == {key: value for key, value in ONE_RATE.items() if key != "learning_rate"} | {"epochs": 2}


def test_the_epochs_of_tuning_are_no_setting_of_a_training():
    few, many = (study(training={"tuning_epochs": epochs}) for epochs in (2, 20))
    assert few.training_of("seven_cell_lines", "unet") == many.training_of("seven_cell_lines", "unet")
    assert few.tuning_of("seven_cell_lines", "unet") != many.tuning_of("seven_cell_lines", "unet")


def test_a_model_may_have_inference_modes_of_its_own():
    models = ["unet", {"name": "unet-aug", "inference": ["tta8", "deployed"]}]
    expanded = study(models=models, evaluation={"inference": ["exact", "deployed"]})
    assert expanded.inference_of("unet") == ["deployed", "exact"]  # in the order of the tables, whatever the list's
    assert expanded.inference_of("unet-aug") == ["deployed", "tta8"]
    assert expanded.models["unet-aug"].spec == resolve_spec("unet-aug")


def test_the_schema_knows_every_inference_mode():
    assert SCHEMA["$defs"]["inference"]["items"]["enum"] == list(INFERENCES)
    one, two = SCHEMA["$defs"]["contrast"]["properties"]["inference"]["oneOf"]
    assert one["enum"] == two["items"]["enum"] == list(INFERENCES)


def contrast(a, b, measure="object50_F1", modes=("deployed", "deployed")):
    return {"a": a, "a_inference": modes[0], "b": b, "b_inference": modes[1], "measure": measure}


def test_the_plain_twin_is_of_the_same_network_and_target():
    names = ["simplified-aug", "simplified", "simplified-wide", "simplified-p4", "simplified-bn-p4", "unet-p4", "gunet"]
    distance = {"name": "p4-distance", "preset": "simplified-p4", "target": "distance"}
    twins = study(models=[*names, distance]).twins
    assert twins == dict.fromkeys(names[:5], "simplified") | {"gunet": "gunet"}
    assert study(models=["simplified-aug", "simplified-p4"]).twins["simplified-p4"] == "simplified-aug"


def test_declared_contrasts_are_spelt_out():
    models = ["unet", {"name": "unet-aug", "inference": ["deployed", "tta8"]}, {"name": "mine", "preset": "unet-p4"}]
    declared = [
        {"a": "mine", "b": "unet"},
        {"a": "mine", "b": "unet-aug", "inference": ["deployed", "tta8"], "measure": "pixel_F1"},
        {"a": "unet", "b": "otsu", "inference": "deployed"},
        {"a": "mine", "b": "unet", "inference": "exact", "measure": "pixel_difference"},
    ]
    expanded = study(models=models, contrasts=declared)
    assert expanded.contrasts == [
        contrast("mine", "unet"),
        contrast("mine", "unet-aug", "pixel_F1", ("deployed", "tta8")),
        contrast("unet", "otsu"),
        contrast("mine", "unet", "pixel_difference", ("exact", "exact")),
    ]
    assert expanded.resolved("seven_cell_lines")["contrasts"] == expanded.contrasts
    assert expanded.equivariant == ["mine"]


@pytest.mark.parametrize(
    "seeds, told",
    [([0, 1, 2], ""), ([4, 7], "declared contrasts on scores: with two seeds"), ([0], "with one seed")],
)
def test_too_few_seeds_are_told_before_a_run(seeds, told):
    warning = study(seeds=seeds).seed_warning
    assert told in warning if told else warning == ""
    assert study(seeds=seeds, contrasts=[]).seed_warning == ""


def test_contrasts_on_differences_ask_for_no_seeds():
    declared = [{"a": "unet-p4", "b": "unet", "measure": "pixel_zeros"}]
    assert study(seeds=[0, 1], models=["unet", "unet-p4"], contrasts=declared).seed_warning == ""


def test_contrasts_of_presets_that_a_study_lacks_are_left_out():
    assert len(study().contrasts) == len(DEFAULT["contrasts"]) == 8
    assert study(models=["unet", {"name": "mine", "preset": "unet-p4"}]).contrasts == []
    assert study(models=["simplified-rot", "simplified-p4"]).contrasts == [contrast("simplified-p4", "simplified-rot")]


def test_paths_count_from_the_data_root():
    assert study(data_root="/data").source("seven_cell_lines")["path"] == "/data/seven_cell_lines/images.tsv"


def test_the_state_of_a_source_is_asked_of_its_files_and_record(tmp_path):
    source = {"layout": "folder", "path": str(tmp_path / "gone"), "modality": "fluorescence"}
    expanded = study(results=str(tmp_path), datasets=[{**DEFAULT["datasets"][0], "source": source}])
    assert expanded.source_state("seven_cell_lines") == ""
    (tmp_path / "seven_cell_lines").mkdir()
    (tmp_path / "seven_cell_lines" / "source.json").write_text('{"state": "as converted"}')
    assert expanded.source_state("seven_cell_lines") == "as converted"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"trainig": {}}, r"top level: unknown key 'trainig' \(did you mean 'training'\?\)"),
        ({"training": {"epoch": 3}}, r"training: unknown key 'epoch' \(did you mean 'epochs'\?\)"),
        ({"training": {"epochs": "many"}}, "training.epochs: 'many' is not of type 'integer'"),
        ({"training": {"crop": 100}}, "training.crop: 100 is not a multiple of 32"),
        ({"training": {"device": "gpu"}}, "training.device: 'gpu' is not one of"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate: 'fast' is not of type 'number'"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate: 0 is less than or equal to the minimum of 0"),
        ({"training": {"learning_rate": [0.1]}}, r"training.learning_rate: \[0.1\] is too short"),
        ({"training": {"learning_rate": [0.1, 0.1]}}, r"training.learning_rate: \[0.1, 0.1\] has non-unique elements"),
        ({"training": {"learning_rate": [0.1, -1]}}, r"training.learning_rate\[1\]: -1 is less than or equal"),
        ({"training": {"tuning_epochs": 0}}, "training.tuning_epochs: 0 is less than the minimum of 1"),
        ({"models": ["unet", "simplfied"]}, "models: unknown model 'simplfied'. Did you mean 'simplified'"),
        ({"models": ["unet", "unet"]}, "two models are named 'unet'"),
        ({"models": ["otsu"]}, "'otsu' is the name of the threshold"),
        ({"models": [{"name": "mine", "preset": "unet", "width": [1, 2]}]}, r"models\[0\]: unknown key 'width'"),
        ({"models": [{"name": "../evil", "preset": "unet"}]}, r"models\[0\].name: '../evil' does not match"),
        ({"models": [{"name": "unet", "training": {"device": "cpu"}}]}, r"models\[0\].training: unknown key 'device'"),
        ({"models": [{"name": "unet", "target": "rays"}]}, r"models\[0\].target: 'rays' is not one of"),
        ({"models": [{"name": "unet", "instances": "guess"}]}, r"models\[0\].instances: 'guess' is not one of"),
        (
            {
                "datasets": [{**DEFAULT["datasets"][0], "mask": {"kind": "binary", "border_as": "nucleus"}}],
                "models": ["unet", {"name": "unet-p4", "target": "distance"}],
            },
            "models: unet-p4: the target 'distance' needs masks that tell nuclei apart, .* seven_cell_lines are binary",
        ),
        ({"models": []}, "models"),
        ({"evaluation": {"inference": ["deployed", "exat"]}}, r"evaluation.inference\[1\]: 'exat' is not one of"),
        ({"evaluation": {"inference": []}}, "evaluation.inference: "),
        ({"evaluation": {"inference": ["exact"]}}, "evaluation: `inference` lacks 'deployed'"),
        ({"models": [{"name": "unet", "inference": ["exact"]}]}, "models: unet: `inference` lacks 'deployed'"),
        (
            {"models": [{"name": "unet", "inference": "exact"}]},
            r"models\[0\].inference: 'exact' is not of type 'array'",
        ),
        ({"contrasts": [{"a": "unet"}]}, r"contrasts\[0\]: 'b' is a required property"),
        ({"contrasts": [{"a": "unet", "b": "unet-p4", "inferense": "exact"}]}, "did you mean 'inference'"),
        ({"contrasts": [{"a": "unet", "b": "unet-p4", "inference": "exat"}]}, "'exat' is not one of"),
        (
            {"contrasts": [{"a": "unet", "b": "unet-p4", "measure": "F1"}]},
            r"contrasts\[0\].measure: 'F1' is not one of",
        ),
        ({"contrasts": [{"a": "unet-p4", "b": "unett"}]}, r"contrasts: unknown model 'unett'. Did you mean 'unet'\?"),
        (
            {"models": ["unet"], "contrasts": [{"a": "unet-p4", "b": "unett"}]},
            "contrasts: unknown model 'unett'. Did you mean 'unet'",
        ),
        (
            {"contrasts": [{"a": "unet", "b": "unet-p4", "inference": "tta8"}]},
            "contrasts: unet is not predicted under 'tta8', only deployed, exact",
        ),
        (
            {"contrasts": [{"a": "unet", "b": "otsu", "inference": "exact"}]},
            "contrasts: otsu is not predicted under 'exact'",
        ),
        (
            {"contrasts": [{"a": "unet", "b": "unet"}]},
            r"contrasts: unet against unet \(object50_F1\) compares a model with",
        ),
        (
            {"contrasts": [{"a": "unet", "b": "unet-p4"}, {"a": "unet-p4", "b": "unet"}]},
            r"contrasts: unet-p4 against unet \(object50_F1\) is declared twice",
        ),
        (
            {"learning_curve": {"models": ["unet-p5"]}},
            "learning_curve: unknown model 'unet-p5'. Did you mean 'unet-p4'",
        ),
        ({"leave_one_cell_line_out": {"models": ["x"]}}, "leave_one_cell_line_out: unknown model 'x'"),
        ({"learning_curve": {"groups": [0]}}, r"learning_curve.groups\[0\]: 0 is less than the minimum"),
        ({"learning_curve": {"sizes": [4]}}, "learning_curve: unknown key 'sizes'"),
        (
            {"learning_curve": {"models": ["unet"], "groups": [1, 4]}},
            "learning_curve: one group cannot be divided to choose the learning rate of unet_1groups",
        ),
        (
            {
                "learning_curve": {"models": ["unet"]},
                "models": ["unet", {"name": "unet_4groups", "preset": "unet"}],
            },
            "learning_curve: two models are named 'unet_4groups'",
        ),
        (
            {"leave_one_cell_line_out": {"models": ["unet"], "cell_lines": ["MCF 7", "MCF/7"]}},
            "two subsets are named 'without-MCF-7'",
        ),
        ({"seeds": [0, 0]}, "seeds"),
        ({"datasets": [{**DEFAULT["datasets"][0], "split": [1, 2]}]}, r"datasets\[0\].split"),
        (
            {"datasets": [{**DEFAULT["datasets"][0], "source": {"layout": "tabel", "path": "x"}}]},
            "'tabel' is not one of",
        ),
        (
            {"datasets": [{**DEFAULT["datasets"][0], "source": {"layout": "folder", "path": "x"}}]},
            r"datasets\[0\].source: 'modality' is a required property",
        ),
    ],
)
def test_what_cannot_be_used_is_told_in_plain_words(changes, message):
    with pytest.raises(InputError, match=message):
        study(**changes)
