"""What is wrong with a file, and what with the machine that reads it."""

import errno
import struct

import pytest

from equinuclei.errors import InputError, StoppedError, UnavailableError, is_of_the_system, reading


@pytest.mark.parametrize(
    "raised",
    [
        ZeroDivisionError(),
        TypeError("no"),
        struct.error("no"),
        OSError("image file is truncated"),  # PIL's own, without a number
        OSError(errno.EINVAL, "a seek to before the beginning"),
        RecursionError(),
    ],
)
def test_whatever_a_parser_raises_says_that_the_file_is_broken(raised):
    with (
        pytest.raises(InputError, match=r"a\.tif: cannot be read .*: copy it again"),
        reading("a.tif", "copy it again"),
    ):
        raise raised


@pytest.mark.parametrize(
    "raised",
    [FileNotFoundError(errno.ENOENT, "no"), OSError(errno.EIO, "no"), OSError(errno.ESTALE, "no"), MemoryError()],
)
def test_what_the_machine_raises_says_nothing_about_the_file(raised):
    with pytest.raises(UnavailableError, match=r"^a\.tif: "), reading("a.tif"):
        raise raised


@pytest.mark.parametrize("raised", [InputError("mine"), StoppedError("mine")])
def test_messages_of_our_own_pass(raised):
    with pytest.raises(type(raised), match=r"^mine$"), reading("a.tif"):
        raise raised


def test_the_cause_of_an_error_tells_whose_fault_it_is():
    error = ValueError("a parser's")
    assert not is_of_the_system(error)
    error.__cause__ = OSError(errno.EIO, "no")
    assert is_of_the_system(error)
