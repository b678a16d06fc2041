"""What a sidecar says about the exports of its checkpoint: the verified ones, each with its proof."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ckptd.metadata.document import without_homes
from ckptd.proof import Export, Verdict
from ckptd.wire_exports import fit_proof

#: Bytes of one proof in a sidecar, which is for people; the index has the whole of it.
MOST_PROOF_BYTES = 16 << 10
#: Keys that a proof can't say otherwise.
_OURS = ("file", "sha256", "size_bytes", "verdict", "exported_at")


def render_exports(exports: Iterable[Export]) -> dict[str, Any]:
    """Give the value of `ckptd.exports`: target → file, digest, size, verdict, time, and its proof; only what is verified."""
    verified = (export for export in exports if export.verdict is Verdict.VERIFIED)
    return {export.target: _entry(export) for export in sorted(verified, key=lambda export: export.target)}


def _entry(export: Export) -> dict[str, Any]:
    proof: dict[str, Any] = without_homes(fit_proof(export.proof, MOST_PROOF_BYTES))
    return {
        "file": export.file,
        "sha256": export.sha256,
        "size_bytes": export.size_bytes,
        "verdict": export.verdict.value,
        "exported_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(export.at)),
        **{key: value for key, value in proof.items() if key not in _OURS},
    }
