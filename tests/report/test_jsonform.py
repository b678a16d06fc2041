"""The JSON form: stable keys, finite numbers, every one of them documented."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ckptd.report.jsonform import HEAD, render_json
from tests.report.making import HOSTILE, empty_facts, facts

PAGE = (Path(__file__).parents[2] / "docs" / "report.md").read_text()


def keys(value: Any) -> Iterator[str]:
    """Give every key at any depth; those of a job's own figures are the job's."""
    match value:
        case dict():
            for key, inner in value.items():
                yield key
                if key != "summary":
                    yield from keys(inner)
        case list():
            for inner in value:
                yield from keys(inner)


def test_it_is_one_line_of_ascii():
    """Bytes of a name that are not UTF-8 are lone surrogates, and come back as they were."""
    text = render_json(facts(HOSTILE))
    assert text.isascii()
    assert text.count("\n") == 1
    assert text.startswith(HEAD)
    value = json.loads(text)
    assert [one["path"] for one in value["largest"]] == list(HOSTILE)
    assert (value["what"], value["schema_version"], value["version"]) == ("ckptd report", 1, "0.1.0")


def test_every_key_is_documented():
    """A name between backticks in docs/report.md, for whole reports and for empty ones."""
    documented = set(re.findall(r"`([a-z_0-9]+)`", PAGE))
    assert set(keys(json.loads(render_json(facts())))) <= documented
    assert set(keys(json.loads(render_json(empty_facts())))) <= documented
