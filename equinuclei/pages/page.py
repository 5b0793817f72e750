"""What all pages share: they are single HTML files that work offline, and take everything from disk for text."""

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import overload

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from equinuclei.runtime.files import replacing


def render(template: str, output: str | Path, **values: object) -> None:
    """Write a page from one of the templates. Text is escaped, whatever it holds."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    page = environment.get_template(template).render(**values)
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def to_json(data: Mapping) -> Markup:
    """Plain values as JSON for a script element of a page."""
    # "<" would end the element.
    return Markup(json.dumps(data, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c"))


def records(table: pd.DataFrame) -> list[dict]:
    """Rows as plain values; NaN and infinity as None, which JSON knows."""
    return [{key: plain(value) for key, value in row.items()} for row in table.astype(object).to_dict(orient="records")]


def plain(value: object) -> object:
    """A value of a table as JSON knows it: NaN and infinity are None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def text(value: object) -> str:
    """A value of a table as text, numbers with four digits; nothing for what is not there."""
    value = plain(value)
    if isinstance(value, float):
        return f"{value:,.4g}"
    return "" if value is None else str(value)


@overload
def data_url(image: bytes, kind: str) -> str: ...


@overload
def data_url(image: None, kind: str) -> None: ...


def data_url(image: bytes | None, kind: str) -> str | None:
    """An image file's bytes as an address that a page can hold; kind is jpeg or png."""
    return None if image is None else f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
