"""The zygote with torch: the processes that it forks build modules and run exports."""

from __future__ import annotations

from ckptd.export.preparing import prepare
from ckptd.export.worker import HEAVY
from ckptd.sandbox.zygote import run


def main(arguments: list[str]) -> None:
    """Be the zygote; the first argument names the packages to import, separated by commas."""
    prepare(tuple(name for name in arguments[0].split(",") if name))
    run(arguments[1:], HEAVY)
