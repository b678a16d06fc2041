"""`python -m tests.e2e.as_user UID GROUPS ckptd-arguments…`: the command line, as another user of the machine.

The interpreter may lie where that user can't go, so root asks for some things that change nothing: all is imported then.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys


def main() -> int:
    """Import, become somebody else, and run."""
    uid, groups, arguments = int(sys.argv[1]), [int(group) for group in sys.argv[2].split(",") if group], sys.argv[3:]
    import encodings.idna  # noqa: F401 — who is somebody else by then could not read it
    import pwd  # noqa: F401 — likewise

    import ckptd.control.rights
    import ckptd.settings.units
    from ckptd.cli import main as ckptd

    options = arguments[:2] if arguments[0] == "--root" else []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for warming in (["status"], ["pause", "--for", "x"], ["ls"], ["pin", "there-is-none"], ["trash", "restore", "none"]):
            ckptd([*options, *warming])
    os.environ.pop("HOME", None)
    os.setgroups(groups)
    os.setgid(uid)
    os.setuid(uid)
    return ckptd(arguments)


if __name__ == "__main__":
    sys.exit(main())
