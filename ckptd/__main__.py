"""`python -m ckptd` is `ckptd`."""

from __future__ import annotations

import sys

from ckptd.cli import main

if __name__ == "__main__":
    sys.exit(main())
