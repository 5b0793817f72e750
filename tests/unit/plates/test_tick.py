"""A tick ends with what a person must do, each time; its status tells what is new or was stopped."""

import pytest

from equinuclei.errors import UnavailableError
from equinuclei.plates.scan_table import ScannedPlate
from equinuclei.plates.stops import record_problems
from equinuclei.plates.tick import KNOWN, TOLD, end_of_tick, note_results, require_results


def row(plate, status, why=""):
    return ScannedPlate(plate, f"/inbox/{plate}", status, why, "toy", 1, 1, "c")


def test_a_failure_is_told_at_every_tick_and_is_news_once(tmp_path):
    rows = [row("good", "ready"), row("bad", "failed", "1.tif: truncated"), row("late", "copying")]
    first, second = (end_of_tick(rows, {"good"}, tmp_path) for _ in range(2))
    assert first.is_news and not second.is_news and first.lines == second.lines
    assert len(first.lines) == 1
    assert first.lines[0].startswith("bad: failed: 1.tif: truncated. What to do: mend what the reason names")
    assert end_of_tick([*rows, row("two", "duplicate")], {"good"}, tmp_path).is_news
    assert not end_of_tick(rows[:1], {"good"}, tmp_path).lines and not (tmp_path / TOLD).exists()
    assert end_of_tick(rows, {"good"}, tmp_path).is_news  # it failed again


@pytest.mark.parametrize("status", ["ready", "unavailable"])
def test_what_is_tried_again_is_news_at_every_tick(tmp_path, status):
    for _ in range(2):
        assert end_of_tick([row("P1", status)], (), tmp_path).is_news


def test_a_plate_that_was_removed_unfinished_is_told(tmp_path):
    ends = [end_of_tick([row("P1", "removed", "its folder is gone")], (), tmp_path) for _ in range(2)]
    assert [end.is_news for end in ends] == [True, False] and "put its folder back" in ends[1].lines[0]
    assert not end_of_tick([row("P1", "removed")], {"P1"}, tmp_path).lines


def test_a_stop_is_told_also_of_a_finished_plate(tmp_path):
    record_problems(tmp_path, ["P1"], "compare_plates", {"P1": "map.tsv: broken"})
    end = end_of_tick([row("P1", "ready"), row("P2", "ready")], {"P1", "P2"}, tmp_path)
    assert end.stopped == {"P1"} and end.is_news and "map.tsv: broken" in end.lines[0]
    assert not end_of_tick([row("P1", "excluded")], {"P1"}, tmp_path).lines


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_broken_note_of_what_was_told_makes_all_news(tmp_path, content):
    rows = [row("bad", "failed")]
    end_of_tick(rows, (), tmp_path)
    (tmp_path / TOLD).write_text(content)
    assert end_of_tick(rows, (), tmp_path).is_news and not end_of_tick(rows, (), tmp_path).is_news


def test_results_that_are_away_are_not_made_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results, scan = tmp_path / "plates", tmp_path / "plates/scan.tsv"
    require_results(results, scan)  # the first tick
    note_results(results, 0)
    require_results(results, scan)
    note_results(results, 3), note_results(tmp_path / "others", 5)
    scan.parent.mkdir()
    with pytest.raises(UnavailableError, match=r"is empty, where 3 plates were known .* delete .*autorun\.results"):
        require_results(results, scan)
    scan.touch()
    require_results(results, scan)
    scan.unlink()
    KNOWN.unlink()
    require_results(results, scan)
