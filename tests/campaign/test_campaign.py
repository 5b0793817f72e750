"""A handful of faults, the same every time. `python -m tests.campaign` plays hundreds."""

import pytest

from .__main__ import undisturbed
from .faults import KINDS
from .machine import Machine
from .plan import Drawn, draw
from .play import SAME, Result, play
from .scenes import Plates, Study, small_weights
from .table import table, wrongs

KILLS = ["kill -9 of a job", "kill -9 of snakemake", "kill -9 of all", "SIGTERM to a job"]


class Training(Study):
    """The training and what it needs."""

    epochs = 5
    cores = 1  # a simulation in several processes takes long to start
    goal = target = "results/tiny/models/turning/fluorescence/seed0/weights.safetensors"


class OnePlate(Plates):
    names = ("P1",)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("campaign"), EQUINUCLEI_STOP_AT="*")
    yield machine
    machine.close()


@pytest.mark.parametrize(
    "scene_of, kinds",
    [
        (Training, [*KILLS, "a file is seen late", "the clock of an owner is wrong"]),
        (OnePlate, [*KILLS, "a file is seen late", "a second controller at once"]),
    ],
)
def test_a_disturbed_run_has_the_bytes_of_an_undisturbed_one(scene_of, kinds, machine, tmp_path):
    scene = scene_of(tmp_path / "scene", machine, small_weights(tmp_path))
    reference = undisturbed(scene, tmp_path / "undisturbed")
    plan = draw(1, scene.what, 0, kinds, 3)
    result = play(scene, reference, plan, 0, tmp_path / "runs/000")
    assert result.outcome == SAME, wrongs([result], tmp_path)
    assert result.faults


def test_equal_seeds_draw_equal_plans_in_which_every_kind_comes_up():
    kinds = sorted(KINDS)
    runs = [draw(3, "study", run, kinds) for run in range(len(kinds) // 6 + 1)]
    assert runs == [draw(3, "study", run, kinds) for run in range(len(kinds) // 6 + 1)]
    assert {fault.kind for run in runs for fault in run} == set(kinds)
    assert draw(4, "study", 0, kinds) != runs[0]


def test_the_table_counts_kinds_by_how_their_runs_ended():
    faults = [{"kind": "scancel", "outcome": "same bytes"}, {"kind": "scancel", "outcome": "WRONG"}]
    result = Result(0, "study", "WRONG", 3, 1.0, faults, notes=["scancel: job 7"], differences=["splits.tsv"])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table([result]).splitlines()]
    assert cells[2] == ["scancel", "2", "1", "", "1", ""] and cells[3][:2] == ["all", "2"]
    assert Drawn("scancel", 1, True, 0.0, None, 0.5).lasts is None
