"""Files to start from: both corpora, as far as they are small."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.corpus import good, hostile, oddities

#: Larger files only slow the fuzzer down: what a mutation hits is mostly weights.
MAX_SEED_BYTES = 24 << 10


def gather(canary: str, *, with_torch: bool = True) -> list[bytes]:
    """Build the corpora and give the small files of them, in a fixed order."""
    cases = [case for case in [*hostile.cases(canary), *oddities.cases()] if not case.name.startswith(("bomb-", "count-"))]
    if with_torch:
        cases += good.cases()
    with tempfile.TemporaryDirectory(prefix="ckptd-seeds-") as directory:
        files = [_bytes(case.write(Path(directory))) for case in cases]
    return [data for data in dict.fromkeys(files) if data is not None and len(data) <= MAX_SEED_BYTES]


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.stat().st_size <= MAX_SEED_BYTES else None
