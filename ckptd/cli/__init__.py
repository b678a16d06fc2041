"""Parse, call one `App` method, show a table or JSON, return the exit status; one module per group of verbs.

Start reading at `entry.main`.  Each verb is imported when it is called (`verbs.VERBS` names its module), because the start of
`ckptd inspect` counts: neither pydantic nor SQLAlchemy, structlog, rich or numpy is on its way.
"""

from __future__ import annotations

from ckptd.cli.entry import main

__all__ = ["main"]
