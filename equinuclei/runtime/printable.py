"""Messages as they may be shown: names and texts of foreign files may hold characters that a terminal obeys."""

import logging
import re

# Control characters but the line break and the tab; line separators; marks that turn the direction of writing or are
# not seen; and bytes of a name that are no text.
_OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""The text with such characters written as Python would: "\x1b" for the escape character."""
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


class PrintableFormatter(logging.Formatter):
    """Formats log records as `printable` text."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return printable(super().format(record))
