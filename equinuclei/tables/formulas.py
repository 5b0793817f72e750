"""Texts in tables that a spreadsheet would run as formulas.

Names of files, channels and treatments come from outside, and a person opens a table with a spreadsheet. A text that
begins as a formula does gets an apostrophe in front, which spreadsheets take for the sign of a text
(https://owasp.org/www-community/attacks/CSV_Injection). Numbers stay numbers.

Imports nothing beyond the standard library: the workflow is parsed with it, where pandas may not be installed.
"""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # the last ones are the signs' wide forms


def guarded(text: str) -> str:
    """The text, with an apostrophe in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
