"""The commands by their names; a command's module is imported when that one is asked for.

A start is Python's imports for the most part, and on a small board they take long: who asks one question
need not wait for what a dozen other commands are made of.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

# In the order of the help. Each is a module here, and of the same name in it the function or group.
NAMES = (
    *("ask", "batch", "bench", "chat", "doctor", "download", "plan", "quantize", "serve"),
    *("worker", "cache", "models", "sessions"),
)


class Commands(TyperGroup):
    """All of them, each made when it is first needed."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as Typer calls it
        """Their names, whether or not they are made yet."""
        return list(NAMES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command; None if there is none of that name."""
        if cmd_name in NAMES and cmd_name not in self.commands:
            self.add_command(_made(cmd_name), cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """What was typed; a name that is none is compared with all, for a suggestion."""
        if args and args[0] not in NAMES:
            for name in NAMES:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)


def _made(name: str) -> Any:
    found = getattr(import_module(f"mistral_small_edge.cli.{name}"), name)
    alone = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(found)
    return typer.main.get_group(alone).commands[name]
