"""The page for administrators, docs/ops/install.md: its commands are run as they stand there."""

from __future__ import annotations

import re

from tests.systemd.container import PROJECT

_PAGE = PROJECT / "docs" / "ops" / "install.md"


def commands(heading: str, language: str = "bash") -> str:
    """Give the first block of code below a heading."""
    _, _, section = _PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    found = re.search(rf"^```{language}\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    assert found is not None, f"{_PAGE}: {heading}"
    return found[1]
