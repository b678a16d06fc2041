"""The one way in: parse, run the verb, turn every expected trouble into one sentence and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

import ckptd
from ckptd.cli.request import Request
from ckptd.cli.verbs import BROKEN_PIPE, LazyGroup, common_options
from ckptd.errors import CkptdError
from ckptd.text import escape

#: Status of a process that ended by Ctrl-C: 128 + SIGINT, as shells count.
INTERRUPTED = 130

#: Characters of one line of an error message; a path may be long, a flood may not.
_MESSAGE_LIMIT = 4_000


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="VERB [ARGUMENTS]...",
)
@click.version_option(ckptd.__version__, prog_name="ckptd", message="%(prog)s %(version)s")
@common_options
def cli() -> None:
    """Look after a directory of PyTorch checkpoints.

    ckptd notices each file that training saves, proves that it is whole and harmless without ever running it, and writes
    down what it is. "ckptd VERB --help" explains a verb.
    """


def main(args: Sequence[str] | None = None, request: Request | None = None) -> int:
    """Run one command line and return its exit status; never raises for trouble that was to be expected.

    Args:
        args: without the program's name; those of this process when None.
        request: what the options are added to; tests bring an `App` of their own with it.
    """
    try:
        request, arguments = request or Request(), list(sys.argv[1:] if args is None else args)
        request.arguments = arguments
        status = cli.main(args=[*arguments], prog_name="ckptd", standalone_mode=False, obj=request)
        if status == BROKEN_PIPE:
            raise BrokenPipeError
        sys.stdout.flush()
    except click.ClickException as error:
        return _complain_about_usage(error)
    except CkptdError as error:
        _complain(str(error))
        return error.exit_status
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is None:  # not about a file: a fault of ours, and a traceback is what helps
            raise
        _complain(f"{os.fsdecode(error.filename)}: {error.strerror}")
        return 1
    return status if isinstance(status, int) else 0


def _complain(text: str) -> None:
    for line in text.split("\n"):
        click.echo(f"ckptd: {escape(line, _MESSAGE_LIMIT)}", err=True)


def _complain_about_usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return 2
    _complain(error.format_message())
    if context is not None:
        click.echo(f"ckptd: try '{context.command_path} --help'", err=True)
    return 2


def _drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter does not fail once more when it flushes at its end."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
