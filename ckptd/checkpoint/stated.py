"""Names and dates as checkpoints state them: in texts, paths, mappings, classes and numbers."""

from __future__ import annotations

import datetime

from ckptd.checkpoint.jsonable import mapping_of, number_of, text_of
from ckptd.checkpoint.names.dates import find_date
from ckptd.checkpoint.simple_values import moment_of
from ckptd.checkpoint.values import TensorValue, Value


def name_in(value: Value) -> str | None:
    """Give a name: a short text in one line, the last part of a path or a dotted class, or the name of a class."""
    text = text_of(value)
    if text is None:
        mapping = mapping_of(value) if not isinstance(value, TensorValue) else None
        if mapping is not None:  # {"dataset": {"name": "ECG"}}, {"model": {"type": "FCN"}}
            inner = next((text_of(mapping[key]) for key in ("name", "type", "_target_", "arch") if key in mapping), None)
            return inner.rpartition(".")[2] if inner is not None and len(inner) <= 100 else None
        return None
    if len(text) > 100 or "\\x" in text:  # an escaped control character: no name in one line
        return None
    return text.rstrip("/").rpartition("/")[2] if text.startswith(("/", "~", "./", "../")) else text


def date_in(value: Value) -> str | None:
    """Give a date: a moment, seconds since the epoch in this century, or a text that holds one."""
    moment = moment_of(value)
    if moment is not None:
        return moment
    number = number_of(value)
    if number is not None:
        if not 946_684_800 <= number < 4_102_444_800:  # the years 2000 to 2099
            return None
        return f"{datetime.datetime.fromtimestamp(int(number), datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    text = text_of(value)
    if text is None or len(text) > 60:
        return None
    found = find_date(text)
    return found.iso if found is not None and found.iso[:4].isdigit() else None
