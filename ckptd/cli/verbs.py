"""Which verbs there are, where each lives, and what all of them share: --root, --config, --json and EXIT STATUS in the help."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from ckptd.cli.remote import pass_on
from ckptd.cli.request import Request

#: Verb → (module, attribute, line in the list of verbs).  A test holds each line against the verb's own help.
VERBS: Mapping[str, tuple[str, str, str]] = {
    "run": ("running", "run", "Watch the roots and look after every checkpoint, in the foreground."),
    "scan": ("running", "scan", "Make one pass over the roots, or over some paths, and end."),
    "inspect": ("inspecting", "inspect", "Say what a file is, without running it and without the index."),
    "ls": ("listing", "ls", "List what the index knows."),
    "show": ("listing", "show", "Show everything that is known about one checkpoint."),
    "best": ("listing", "best", "Show the best checkpoint of each group by a metric."),
    "find": ("listing", "find", "List the checkpoints that fit a query."),
    "sidecar": ("sidecars", "sidecar", "Show the metadata file beside a checkpoint, or make it anew."),
    "export": ("exporting", "export", "Export a checkpoint, and prove that each export does what the original does."),
    "exports": ("exporting", "exports", "Show the exports of a checkpoint and how each compared with the original."),
    "recipe": ("exporting", "recipe", "Write and check recipes: how to build the module whose weights a checkpoint holds."),
    "plan": ("planning", "plan", "Say what the policy would do with every checkpoint, and why."),
    "apply": ("planning", "apply", "Do what the policy says: slim, archive, and move to the trash."),
    "pin": ("marking", "pin", "Keep checkpoints for ever, whatever the policy says."),
    "unpin": ("marking", "unpin", "Let the policy decide again about checkpoints that were pinned."),
    "tag": ("marking", "tag", "Tag a checkpoint, or show its tags."),
    "alias": ("marking", "alias", "Give a checkpoint another name that every command takes, or show its aliases."),
    "trash": ("trashing", "trash", "See what was removed, bring it back, or remove it for good."),
    "archive": ("archiving", "archive", "Put checkpoints into an archive that was read back, or verify archives."),
    "archives": ("archiving", "archives", "List the archives, or what lies in one of them."),
    "restore": ("archiving", "restore", "Bring a checkpoint back, out of the trash or an archive."),
    "status": ("steering", "status", "Say what the daemon does just now, and whether all is well with it."),
    "pause": ("steering", "pause", "Begin nothing new for a while: no inspection, no export, no job."),
    "resume": ("steering", "resume", "Go on after a pause."),
    "reload": ("steering", "reload", "Have the daemon read its settings anew, as SIGHUP does."),
    "jobs": ("jobs", "jobs", "Show when each job runs, and how it ran last; or run one now."),
    "notify": ("notifying", "notify", "Show which alerts are open, and what waits to be sent; or test the channels."),
    "report": ("report", "report", "Say what takes the room, what grows, and what could go; or write it as a page."),
    "reindex": ("running", "reindex", "Build the index anew from the files and the journal."),
    "doctor": ("checking", "doctor", "Check everything that could be wrong, and say what to do about it."),
    "service": ("service", "service", "Put ckptd in place as a service of systemd, or take it away."),
    "config": ("configuring", "config", "Show or check the settings."),
}

#: Status of a process whose reader went away: 128 + SIGPIPE, as shells count.
BROKEN_PIPE = 141

FINE = {0: "fine"}
USAGE = {2: "the command line, the settings or the query make no sense; nothing was done"}
NEWER = {5: "a newer ckptd made the index; nothing was done"}


class Verb(click.Command):
    """A command whose help says what its exit status means."""

    def __init__(self, *args: Any, exit_status: Mapping[int, str], **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.exit_status = exit_status

    def invoke(self, ctx: click.Context) -> Any:
        """Do it here, or have the daemon do it."""
        request = ctx.find_object(Request)
        status = None if request is None else pass_on(ctx, request)
        return super().invoke(ctx) if status is None else status

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each exit status means."""
        write_exit_status(formatter, self.exit_status)
        super().format_epilog(ctx, formatter)


class LazyGroup(click.Group):
    """The group of all verbs; a module is imported when its verb is called, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs in the order people meet them."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and give the verb."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module, attribute, _ = VERBS[cmd_name]
        command: click.Command = getattr(import_module(f"ckptd.cli.{module}"), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which one was probably meant."""
        if args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f' Did you mean "{near[0]}"?' if near else ' "ckptd --help" lists them.'
            raise click.UsageError(f'There is no verb "{args[0]}".{hint}', ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a reader that went away ends it with a status of its own, where click would say 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(BROKEN_PIPE) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing any."""
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, _, line) in VERBS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the statuses that all verbs share."""
        write_exit_status(
            formatter,
            {
                0: "fine",
                1: "something was found, or could not be done",
                2: "the command line, the settings or a query make no sense",
                3: "a file is unsafe, or loading it would run code",
                4: "another daemon holds the root, or the service cannot be reached",
                5: "a newer ckptd made the index, and this one leaves it alone",
                130: "interrupted",
            },
        )
        super().format_epilog(ctx, formatter)


def write_exit_status(formatter: click.HelpFormatter, meanings: Mapping[int, str]) -> None:
    """Write the section EXIT STATUS."""
    with formatter.section("EXIT STATUS"):
        formatter.write_dl([(str(status), text) for status, text in meanings.items()])


def _remember_roots(ctx: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
    if "" in value:  # what a shell makes of "$UNSET"; to Path it is the present directory
        raise click.BadParameter('an empty text names no directory; for the present one write "."')
    if value:
        ctx.ensure_object(Request).roots = tuple(map(Path, value))


def _remember_config(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Request).config = value


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --root and --config, which mean the same before and after the verb; the one after it counts."""
    path: Any = click.Path(path_type=Path, readable=False)  # who may not read it may yet ask the daemon
    root = click.option(
        "--root",
        type=click.Path(),
        multiple=True,
        expose_value=False,
        callback=_remember_roots,
        metavar="DIR",
        help="Look after this directory; may be repeated. Default: the settings' roots, else ./trained_models.",
    )
    config = click.option(
        "--config",
        type=path,
        expose_value=False,
        callback=_remember_config,
        metavar="FILE",
        help="Read this settings file. Default: $CKPTD_CONFIG, ~/.config/ckptd/ckptd.toml, /etc/ckptd/ckptd.toml.",
    )
    return root(config(function))


def verb(
    name: str, *, exit_status: Mapping[int, str], json_help: str = "Print JSON; the keys are in docs/json.md."
) -> Callable[[Callable[..., Any]], Verb]:
    """Make a function a verb with the options that all verbs share."""

    def decorate(function: Callable[..., Any]) -> Verb:
        as_json = click.option("--json", "as_json", is_flag=True, help=json_help)
        made = click.command(name, cls=Verb, exit_status=exit_status)(as_json(common_options(function)))
        assert isinstance(made, Verb)
        return made

    return decorate
