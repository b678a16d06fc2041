"""What every verb is told beside its own arguments, and how it gets its settings and its `App`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptd.errors import UsageError

if TYPE_CHECKING:
    from ckptd.app import App
    from ckptd.cli.asker import Asker
    from ckptd.settings import Settings


def _build_app(settings: Settings) -> App:
    from ckptd.app import App  # the index and all that it needs: only for the verbs that ask it

    return App(settings)


@dataclass(slots=True)
class Request:
    """The options that stand before or after any verb.

    Attributes:
        roots: of --root; empty when it was not given.
        config: of --config.
        build_app: makes the `App`; tests put one of their own here.
        settings: used instead of all that could be read; once they were read, those.
        asker: in whose name this process runs; None when he runs it himself.
        arguments: of the command line, as they were given.
        is_allowed: it was looked at whether the asker may have this verb.
    """

    roots: tuple[Path, ...] = ()
    config: Path | None = None
    build_app: Callable[[Settings], App] = field(default=_build_app)
    settings: Settings | None = None
    asker: Asker | None = None
    arguments: Sequence[str] = ()
    is_allowed: bool = False

    def load_settings(self, **overrides: Any) -> Settings:
        """Read the settings with what the command line says above them; the daemon's are not read again by whom it asks."""
        if self.asker is not None and self.settings is not None:
            return self.settings
        from ckptd.settings import load_settings  # pydantic: 70 ms

        if self.roots:
            overrides["roots"] = self.roots
        return load_settings(self.config, overrides)

    @property
    def is_plain(self) -> bool:
        """True when an `App` is what it always is."""
        return self.build_app is _build_app

    @property
    def has_settings(self) -> bool:
        """True when a settings file or variable is there to be read; asking is cheap, reading is not."""
        from ckptd.settings.places import find_config, setting_variables

        return find_config(self.config, os.environ) is not None or bool(setting_variables(os.environ))

    @contextlib.contextmanager
    def open_app(self) -> Iterator[App]:
        """Open the index and what belongs to it for as long as the block lasts; only trouble is logged meanwhile."""
        from ckptd.logs import configure_logs  # structlog: 150 ms, but then the index takes 300 ms

        if self.asker is not None and not self.is_allowed:
            raise UsageError("this verb can't be asked of the daemon", cure="say it as the daemon's user")
        settings = self.load_settings()
        configure_logs(settings.log, quiet=True)
        app = self.build_app(settings)
        if self.asker is not None:
            app.act_for(self.asker.name, self.asker.owner, partial(bool, self.asker.asked_to_end))
        try:
            yield app
        finally:
            app.close()


def current_request() -> Request:
    """Give the request of the verb that runs."""
    request = click.get_current_context().find_object(Request)
    assert request is not None, "entry.main puts it there"
    return request
