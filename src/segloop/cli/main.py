"""The table of commands. Reading it loads no model code: every command imports what it needs when it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import segloop
from segloop.cli.compose import compose
from segloop.cli.console import one_line_errors, open_missing_streams
from segloop.cli.distill import distill
from segloop.cli.embed import embed
from segloop.cli.evaluate.edges import evaluate_edges
from segloop.cli.evaluate.instances import evaluate_instances
from segloop.cli.evaluate.points import evaluate_points
from segloop.cli.evaluate.proposals import evaluate_proposals
from segloop.cli.evaluate.report import evaluate_report
from segloop.cli.evaluate.text import evaluate_text
from segloop.cli.everything import everything
from segloop.cli.export import export
from segloop.cli.finetune import finetune
from segloop.cli.mae import mae
from segloop.cli.segment import segment
from segloop.cli.serve import demo, serve
from segloop.cli.train import train
from segloop.cli.train_text import train_text

COMMANDS: dict[str, Callable[..., Any]] = {
    "segment": segment,
    "everything": everything,
    "embed": embed,
    "serve": serve,
    "demo": demo,
    "export": export,
    "compose": compose,
}
# A command in capitals stands for an argument: it takes whatever is no other command's name.
GROUPS: dict[str, tuple[str, dict[str, Callable[..., Any]]]] = {
    "train": (
        "Train a model by a recipe, fine-tune one on your own masks, distil or pretrain one.",
        {
            "RECIPE": train,
            "finetune": finetune,
            "distill": distill,
            "mae": mae,
            "text": train_text,
        },
    ),
    "evaluate": (
        "Score a model by a protocol of the paper.",
        {
            "points": evaluate_points,
            "edges": evaluate_edges,
            "proposals": evaluate_proposals,
            "instances": evaluate_instances,
            "text": evaluate_text,
            "report": evaluate_report,
        },
    ),
}


def build_app() -> typer.Typer:
    """The typer application that the table describes."""
    app = _group("Segment anything in a photograph, and everything around it.")
    app.callback()(_options)
    for name, command in COMMANDS.items():
        app.command(name)(one_line_errors(command))
    for name, (purpose, commands) in GROUPS.items():
        group = _group(purpose)
        group.callback()(_no_options)
        for inner, command in commands.items():
            group.command(inner)(one_line_errors(command))
        app.add_typer(group, name=name)
    return app


def main() -> None:
    """Run the command line and exit."""
    open_missing_streams()
    try:
        one_line_errors(_run)()
    except typer.Exit as stopped:
        sys.exit(stopped.exit_code)


def _run() -> None:
    try:
        build_app()(prog_name="segloop")
    finally:  # so that a full disk is noticed while it can be told in a line
        sys.stdout.flush()


class _Group(TyperGroup):
    """A group that may have a command in capitals."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in capitals before what is no command."""
        spare = next((name for name in self.commands if name.isupper()), None)
        known = {*self.commands, *ctx.help_option_names}
        if spare is not None and args and args[0] not in known:
            args = [spare, *args]
        return super().parse_args(ctx, args)


def _group(purpose: str) -> typer.Typer:
    return typer.Typer(
        cls=_Group,
        help=purpose,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"segloop {segloop.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say which it is."),
    ] = False,
) -> None:
    """Take the options before a command."""


def _no_options() -> None:
    """Keep a group of one command a group."""
