"""A worker that writes and checks a checkpoint in each weights format, and prints the memory before and at the worst."""

from __future__ import annotations

import json
import os
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Print {target: [MiB at the start, MiB at the peak]}; each target is measured in a fork of its own."""
    import isal.isal_zlib  # noqa: F401 — what is imported is in no peak
    import numpy  # noqa: F401 — likewise
    import safetensors  # noqa: F401 — likewise

    from ckptd.export import checking, safetensors_file  # noqa: F401 — likewise

    checkpoint, place = Path(arguments[0]), Path(arguments[1])
    print(
        json.dumps({target: _measure(checkpoint, place, target) for target in ("safetensors", "float16", "bfloat16", "int8")})
    )


def _measure(checkpoint: Path, place: Path, target: str) -> list[float]:
    from bench.rows_export import check_weights, write_weights

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        Path("/proc/self/clear_refs").write_text("5")  # the peak of a fork is its parent's, until it is reset
        start = _peak()
        write_weights(checkpoint, place / "peak", target)
        check_weights(checkpoint, place / "peak", target)
        os.write(writing, json.dumps([start, _peak()]).encode())
        os._exit(0)
    os.close(writing)
    answer = os.read(reading, 4096)
    os.close(reading)
    os.waitpid(child, 0)
    return json.loads(answer)


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
