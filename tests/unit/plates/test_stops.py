"""Why jobs of plates stopped is told until they succeed, and marks nothing."""

import errno
import json
import os

import pytest

from equinuclei.errors import InputError, StoppedError, UnavailableError
from equinuclei.plates.scan_table import ScannedPlate
from equinuclei.plates.stops import (
    QuarantinedError,
    forget_stops,
    record_problems,
    stops_of,
    telling_stops,
    with_stops,
)


def stop(results, error, job="segment_plate_0"):
    with pytest.raises(Exception) as raised, telling_stops(results, "P1", job):
        raise error
    return raised.value


def made(error, cause):
    """An error that a parser made of another one."""
    error.__cause__ = cause
    return error


def test_a_stop_is_told_until_the_same_job_succeeds(tmp_path):
    stop(tmp_path, InputError("weights: not a readable\nsafetensors file"))
    stop(tmp_path, StoppedError("cancelled"), "segment_plate_1")
    first, second = stops_of(tmp_path, "P1")
    assert first.startswith("segment_plate_0 stopped on ") and first.endswith(
        "): weights: not a readable safetensors file"
    )
    with telling_stops(tmp_path, "P1", "segment_plate_0"):
        pass
    assert stops_of(tmp_path, "P1") == [second] and stops_of(tmp_path, "P2") == []
    forget_stops(tmp_path, "P1")
    assert not list((tmp_path / "stopped").iterdir())


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOENT, errno.EMFILE])
def test_what_the_system_raised_is_one_message_whatever_was_made_of_it(tmp_path, number):
    system = OSError(number, os.strerror(number), "/mnt/plate/zarr.json")
    for error in (system, made(InputError("damaged: remove it, and run again"), system)):
        raised = stop(tmp_path, error)
        assert isinstance(raised, UnavailableError) and "remove it" not in str(raised)
        assert (
            str(raised)
            == f"/mnt/plate/zarr.json: cannot be used now ({os.strerror(number)}); the next tick tries again"
        )
    assert "too little memory" in str(stop(tmp_path, made(InputError("damaged"), MemoryError("1 TiB"))))


@pytest.mark.parametrize("error", [InputError("a"), StoppedError("b"), ValueError("c"), OSError(errno.ENOSPC, "full")])
def test_other_errors_pass_as_they_are(tmp_path, error):
    assert stop(tmp_path, error) is error and len(stops_of(tmp_path, "P1")) == 1


def test_a_fault_of_the_plate_is_no_stop(tmp_path):
    stop(tmp_path, StoppedError("x"), "convert_plate")
    stop(tmp_path, QuarantinedError("1.tif: truncated"), "convert_plate")
    assert stops_of(tmp_path, "P1") == []


def test_results_that_are_away_hide_no_error(tmp_path, caplog):
    (tmp_path / "stopped").write_text("no folder")
    assert str(stop(tmp_path, InputError("told all the same"))) == "told all the same"
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_broken_record_is_told(tmp_path, content):
    stop(tmp_path, InputError("x"))
    (tmp_path / "stopped/P1/segment_plate_0.json").write_text(content)
    assert stops_of(tmp_path, "P1")[0].startswith("segment_plate_0 stopped; its record cannot be read")


def test_rows_of_the_scan_say_why_a_plate_stopped(tmp_path):
    rows = [ScannedPlate("P1", "/inbox/P1", status, "", "toy", 1, 1, "c") for status in ("ready", "failed", "copying")]
    assert with_stops(rows, tmp_path) == rows
    stop(tmp_path, InputError("x"))
    assert [row.why[:22] for row in with_stops(rows, tmp_path)] == ["segment_plate_0 stoppe", "", ""]


def test_problems_of_a_job_of_all_plates_end_with_them(tmp_path):
    record_problems(tmp_path, ["P1", "P2"], "compare_plates", {"P1": "map.tsv: broken"})
    assert stops_of(tmp_path, "P2") == [] and stops_of(tmp_path, "P1")[0].endswith("map.tsv: broken")
    assert json.loads((tmp_path / "stopped/P1/compare_plates.json").read_text())["plate"] == "P1"
    record_problems(tmp_path, ["P1", "P2"], "compare_plates", {})
    assert stops_of(tmp_path, "P1") == []
