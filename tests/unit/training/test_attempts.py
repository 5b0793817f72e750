"""A training that collapses starts again, the same way whenever it is interrupted, and says so."""

import os
import signal

import pandas as pd
import pytest
import torch

from equinuclei.checksums import sha256
from equinuclei.errors import StoppedError
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.runtime.provenance import read_run
from equinuclei.training import task as task_module
from equinuclei.training.attempts import seed_of_attempt
from equinuclei.training.task import SegmentationTask
from support.training import changed, part, train

LEARNS = changed(epochs=8)
set_prior = SegmentationNetwork.set_prior


@pytest.fixture
def first_attempts_die(monkeypatch):
    """A function: so many networks of this process start with filters that never see anything, and can never change.

    `how` is -1 for one that finds nothing, 1 for one that takes everything for nucleus.
    """

    def die(times, how=-1):
        left = [times]

        def set_dead(network, prior):
            set_prior(network, prior)
            if left[0] > 0:
                with torch.no_grad():
                    for parameter in network.parameters():
                        parameter.zero_()
                    network.head.bias.fill_(20.0 * how)
            left[0] -= 1

        monkeypatch.setattr(SegmentationNetwork, "set_prior", set_dead)

    return die


@pytest.mark.parametrize("how, told", [(-1, "finds nothing"), (1, "takes everything for nucleus")])
def test_a_training_that_collapsed_starts_again_and_learns(tmp_path, caplog, first_attempts_die, how, told):
    first_attempts_die(1, how)
    files = train(tmp_path, LEARNS)
    run = read_run(files["run"])
    first, second = run["attempts"]
    assert first["collapsed"] == told and (first["seed"], first["epochs"], first["steps"]) == (3, 8, 24)
    assert second["collapsed"] is None and second["seed"] == seed_of_attempt(3, 2) != 3 and run["seed"] == 3
    assert run["train_seconds"] == pytest.approx(first["seconds"] + second["seconds"], abs=0.02)
    assert f"attempt 1 of 5 has collapsed: after epoch 8 of 8 the network {told}" in caplog.text
    history = pd.read_csv(files["history"])
    assert history["epoch"].tolist() == [*range(1, 9)] and history["train_F1"].iloc[-1] > 0.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv", "run.json", "weights.safetensors"]


def test_a_training_that_learns_makes_one_attempt_with_its_own_seed(tmp_path):
    one, many = (train(tmp_path / str(attempts), changed(epochs=8, attempts=attempts)) for attempts in (1, 5))
    (attempt,) = read_run(many["run"])["attempts"]
    assert (attempt["seed"], attempt["steps"], attempt["collapsed"]) == (3, 24, None)
    assert sha256(one["weights"]) == sha256(many["weights"])


def test_when_no_attempt_learns_the_last_is_kept_and_it_is_told(tmp_path, caplog, first_attempts_die):
    first_attempts_die(3)
    files = train(tmp_path, changed(epochs=2, attempts=2))
    assert [attempt["collapsed"] for attempt in read_run(files["run"])["attempts"]] == ["finds nothing"] * 2
    assert "all 2 attempts have collapsed: the network finds nothing" in caplog.text
    assert files["weights"].is_file()


def test_without_further_attempts_nothing_is_trained_again(tmp_path, caplog, first_attempts_die):
    first_attempts_die(1)
    files = train(tmp_path, changed(epochs=2, attempts=1))
    (attempt,) = read_run(files["run"])["attempts"]
    assert attempt["collapsed"] == "finds nothing" and "the training has collapsed" in caplog.text


def test_crops_without_nuclei_are_no_collapse(tmp_path):
    empty = part()
    files = train(tmp_path, training=type(empty)(empty.fields, empty.images, [mask & False for mask in empty.targets]))
    assert len(read_run(files["run"])["attempts"]) == 1


def test_halfway_it_ends_unless_it_is_the_last(tmp_path, monkeypatch, first_attempts_die):
    """And not before a slow network could have begun."""
    monkeypatch.setattr(task_module, "EARLIEST", 7)
    first_attempts_die(2)
    attempts = read_run(train(tmp_path / "early", changed(epochs=5, attempts=2))["run"])["attempts"]
    assert [attempt["epochs"] for attempt in attempts] == [3, 5]
    first_attempts_die(1)
    attempts = read_run(train(tmp_path / "too early", changed(epochs=3, attempts=2))["run"])["attempts"]
    assert [attempt["epochs"] for attempt in attempts] == [3, 3]


# Of 24 steps of the first attempt, which ends at step 12, and 24 of the second.
@pytest.mark.parametrize("step", [11, 12, 13, 20, 36])
def test_interrupted_in_any_attempt_it_resumes_bit_for_bit(tmp_path, monkeypatch, first_attempts_die, step):
    monkeypatch.setattr(task_module, "EARLIEST", 7)
    first_attempts_die(1)
    undisturbed = train(tmp_path / "a", LEARNS)
    taken, training_step = [], SegmentationTask.training_step

    def tell(task, batch, index):
        taken.append(index)
        if len(taken) == step:
            os.kill(os.getpid(), signal.SIGUSR1)
        return training_step(task, batch, index)

    monkeypatch.setattr(SegmentationTask, "training_step", tell)
    first_attempts_die(1)
    with pytest.raises(StoppedError):
        train(tmp_path / "b", LEARNS)
    if step <= 12:
        first_attempts_die(1)
    resumed = train(tmp_path / "b", LEARNS)
    assert len(taken) == 36  # none twice
    assert_same(undisturbed, resumed)


@pytest.mark.parametrize("after", ["the first attempt", "its mark"])
def test_killed_between_two_attempts_it_goes_on_with_the_second(tmp_path, monkeypatch, first_attempts_die, after):
    first_attempts_die(1)
    undisturbed = train(tmp_path / "a", LEARNS)

    def die(*arguments):
        if after == "its mark":
            mark_done(*arguments)
        raise KeyboardInterrupt

    from equinuclei.training import attempts

    mark_done = attempts.mark_done
    first_attempts_die(1)
    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, SystemExit)):
        patch.setattr(attempts, "mark_done", die)
        train(tmp_path / "b", LEARNS)
    first_attempts_die(after == "the first attempt")
    assert_same(undisturbed, train(tmp_path / "b", LEARNS))


def assert_same(one, other):
    assert sha256(one["weights"]) == sha256(other["weights"])
    assert one["history"].read_text() == other["history"].read_text()
    attempts = [
        [
            {key: value for key, value in attempt.items() if key not in ("seconds", "cpu_seconds")}
            for attempt in read_run(run)["attempts"]
        ]
        for run in (one["run"], other["run"])
    ]
    assert attempts[0] == attempts[1] and len(attempts[0]) == 2


def test_attempts_have_seeds_of_their_own():
    seeds = [seed_of_attempt(seed, number) for seed in range(20) for number in range(1, 6)]
    assert len(set(seeds)) == len(seeds) and seeds[::5] == [*range(20)]
