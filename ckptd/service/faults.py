"""What can't be installed, or didn't start; and what the operating system says no to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ckptd.errors import CkptdError


class ServiceError(CkptdError):
    """The service can't be put in place as things are; what was done before is listed."""


@contextlib.contextmanager
def translated(what: str, path: Path) -> Iterator[None]:
    """Raise `ServiceError` in place of any `OSError` of the block."""
    try:
        yield
    except OSError as error:
        raise ServiceError(what, path=path, why=os.strerror(error.errno or 0)) from error
