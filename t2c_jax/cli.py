"""The command line ``t2c COMMAND``. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from t2c_jax import plugins, runtime
from t2c_jax.commands import COMMANDS
from t2c_jax.commands.output import fail
from t2c_jax.errors import UserError, nearest

_OVER_BATCHES = frozenset({"evaluate", "reproduce", "rerank", "run", "train"})
"""Commands that compute losses over whole batches of targets."""


def console_script() -> int:
    """The installed command: ``main``, in a process with the environment that it needs."""
    if {"-h", "--help"}.isdisjoint(sys.argv):
        runtime.restart_with_environment(over_batches=not _OVER_BATCHES.isdisjoint(sys.argv[1:]))
    runtime.collect_rarely()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status: 0, 2 for a mistake of the user's, 128 + n when stopped by signal n."""
    try:
        options = _parse(list(sys.argv[1:] if arguments is None else arguments))
        runtime.quiet()
        plugins.check()
        return COMMANDS[options.command].run(options)
    except UserError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return fail("interrupted; the same command resumes where this one stopped", 128 + signal.SIGINT)
    except BrokenPipeError:  # the reader of the output has gone, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="t2c",
        description="Train sequence-to-sequence models that write code from text.",
        epilog="Any value of the config can be set on the command line: --config.train.steps=200",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(
            commands.add_parser(
                name, help=command.SUMMARY, description=command.SUMMARY, allow_abbrev=False, epilog=parser.epilog
            )
        )
    return parser


def _parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a command; ``overrides`` are the ``--config.x.y=value`` among them, as ``x.y=value``.

    Raises:
      UserError: an override without a value, or a command that does not exist.
    """
    overrides, rest = [], []
    while arguments:
        item = arguments.pop(0)
        if item == "--":
            rest += [item, *arguments]
            break
        if not item.startswith("--config."):
            rest.append(item)
        elif "=" in item:
            overrides.append(item.removeprefix("--config."))
        elif arguments and not arguments[0].startswith("--"):
            overrides.append(f"{item.removeprefix('--config.')}={arguments.pop(0)}")
        else:
            raise UserError(f"{item} has no value; write {item}=VALUE")
    command = next((item for item in rest if not item.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise UserError(f"unknown command '{command}'{nearest(command, COMMANDS)}; t2c --help lists them")
    options = _parser().parse_args(rest)
    options.overrides = overrides
    return options


if __name__ == "__main__":
    sys.exit(console_script())
