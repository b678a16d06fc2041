"""How a process went, in a sentence."""

from __future__ import annotations

import signal

from ckptd.errors import WorkerError


def describe_exit(code: int | None, *, killed: bool, words: str = "") -> WorkerError:
    """Say why a worker is gone before it answered.

    Args:
        code: exit status, negative for a signal; None when it is still there.
        killed: True when we killed it because it closed its channel and stayed.
        words: the last line it wrote to its standard error, escaped.
    """
    if code is None:
        why = "it can't be ended: the kernel holds it, perhaps in a read from a dead network share"
    elif code == -signal.SIGSYS:
        why = "it made a forbidden system call"
    elif code == -signal.SIGKILL:
        why = "it closed its channel" if killed else "killed from outside, perhaps because memory was short"
    elif code < 0:
        why = f"ended by {_signal_name(-code)}"
    else:
        why = f"ended with exit status {code}"
    return WorkerError("a worker ended before it answered", why=f"{why}: {words}" if words else why)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
