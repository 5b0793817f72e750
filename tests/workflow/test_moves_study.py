"""Turns between the quarter turns and shifts, switched on in a study that has run: what is planned, and what is not."""

import copy

from conftest import TINY, planned_jobs, snakemake

MOVED = {**copy.deepcopy(TINY), "evaluation": {**TINY["evaluation"], "turns_and_shifts": True}}
NEW_JOBS = {"score_moves": 2, "score_otsu_moves": 1, "aggregate_moves": 1, "draw_moves": 1}


def test_turns_and_shifts_are_off_and_add_jobs_where_they_are_on(tmp_path):
    off = planned_jobs(snakemake(tmp_path, "--dry-run", "study"))
    assert not NEW_JOBS.keys() & off.keys()
    on = planned_jobs(snakemake(tmp_path, "--dry-run", "study", config=MOVED))
    assert on == off | NEW_JOBS


def test_what_was_trained_stays_when_they_are_switched_on(study):
    """Another parameter of `predict_test` is True already, and Snakemake compares values as a set."""
    folder, _ = study
    jobs = planned_jobs(snakemake(folder, "--dry-run", "study", config=MOVED))
    assert "train_model" not in jobs and "score_otsu" not in jobs
    assert jobs["predict_test"] == 2 and NEW_JOBS.items() <= jobs.items()
