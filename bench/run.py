"""Measure what the design owes, each figure beside its peer, and print one Markdown table.

    python -m bench.run [--quick] [--only NAME …]

`--quick` uses a tenth of the files.  dvc and MLflow are measured when their commands are found (`make bench` installs
them into an environment of their own); a row whose peer is missing says so.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import (
    rows_archive,
    rows_daemon,
    rows_export,
    rows_file,
    rows_modules,
    rows_pack,
    rows_plan,
    rows_report,
    rows_slim,
)
from bench.timing import Row

ROWS: dict[str, Callable[[Path, bool], list[Row]]] = {
    "file": rows_file.measure_large_file,
    "memory": rows_file.measure_memory,
    "cold": rows_file.measure_cold_inspect,
    "load": rows_file.measure_load,
    "bulk": rows_daemon.measure_bulk_scan,
    "reconcile": rows_daemon.measure_reconcile,
    "latency": rows_daemon.measure_latency,
    "weights": rows_export.measure_weights,
    "modules": rows_modules.measure_modules,
    "archive": rows_archive.measure_tar,
    "pack": rows_pack.measure_pack,
    "slim": rows_slim.measure_slim,
    "plan": rows_plan.measure_plan,
    "report": rows_report.measure_report,
    "idle": rows_daemon.measure_idle,
}


def main() -> int:
    """Print the table; status 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files")
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--directory", type=Path, default=None, help="where the files are made; default: a temporary directory")
    options = parser.parse_args()
    print(f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {len_cores()} cores\n")
    print("| work | measured | peer, same run | ratio | owed | met |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        for name in options.only:
            place = Path(scratch) / name
            place.mkdir()
            for row in ROWS[name](place, options.quick):
                print(row.render(), flush=True)
    return 0


def len_cores() -> int:
    """Give the cores this process may use."""
    import os

    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    sys.exit(main())
