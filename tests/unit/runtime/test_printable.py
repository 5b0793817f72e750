"""Nothing in a message is obeyed by a terminal, and what can be read stays."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.runtime.job import job
from equinuclei.runtime.printable import PrintableFormatter, printable


@pytest.mark.parametrize("text", ["plain", "Ω µm", "two\nlines", "a\ttab", "細胞 1", "naïve", "a\u0301"])
def test_what_can_be_read_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("a\rError", r"a\rError"),
        ("\x9b31m", r"\x9b31m"),
        ("\udcff", r"\udcff"),
        ("a\u2028b\u200bc", r"a\u2028b\u200bc"),
    ],
)
def test_what_a_terminal_obeys_is_written_out(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_the_result_is_text_that_is_shown_as_it_is(text):
    shown = printable(text)
    assert printable(shown) == shown
    shown.encode()


def test_the_formatter_covers_the_arguments():
    record = logging.LogRecord("x", logging.INFO, "", 1, "file %s", ("\x1b[31m.tif",), None)
    assert PrintableFormatter("%(levelname)s %(message)s").format(record) == r"INFO file \x1b[31m.tif"


def test_a_job_writes_no_control_characters(tmp_path, capsys):
    with job(tmp_path / "log"):
        logging.getLogger("equinuclei.x").info("plate %s", "\x1b]0;title\x07")
    for text in ((tmp_path / "log").read_text(), capsys.readouterr().err):
        assert r"plate \x1b]0;title\x07" in text and "\x1b" not in text
