"""Build a corpus, have a watched process inspect it, and hand out what it said of each file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.corpus.case import Case


@dataclass(frozen=True)
class Verdicts:
    """What a watched process said, by name of the case; `canary` must not exist afterwards."""

    lines: dict[str, dict[str, Any]]
    canary: Path

    def of(self, case: Case) -> dict[str, Any]:
        """Give the line of one case."""
        line = self.lines.get(case.name)
        assert line is not None, f"the inspector did not survive {case.name} or a file before it"
        return line


def inspect_all(cases: Sequence[Case], canary: Path) -> Verdicts:
    """Write all files, inspect them in one child, and forget them."""
    with tempfile.TemporaryDirectory(prefix="ckptd-corpus-") as directory:
        names = {case.write(Path(directory)).name: case.name for case in cases}
        done = subprocess.run(
            [sys.executable, "-m", "tests.acceptance.watched", directory],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=Path(__file__).parents[2],
        )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return Verdicts({names[line["name"]]: line for line in found}, canary)
