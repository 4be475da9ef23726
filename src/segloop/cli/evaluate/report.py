"""segloop evaluate report: results side by side, and split into groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segloop.cli.options import OutOption
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.evaluate.comparison import GroupOf


def evaluate_report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="Results of one evaluation; the first is what the others are held against.",
            show_default=False,
        ),
    ],
    out: OutOption,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="category|size", help="Also split every number by it.", show_default=False
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Also split by a table with the columns image, group (and annotation_id).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
) -> None:
    """Put results side by side, with plots, and say which differences exceed chance.

    Writes FOLDER/report.md with its plots, and FOLDER/report.html, a page that
    needs nothing else.

    [bold]Examples[/bold]

      segloop evaluate report before after -o report
      segloop evaluate report scores -o report --by size
      segloop evaluate report scores -o report --groups people.csv
    """
    from segloop.cli.results import prepare_folder
    from segloop.evaluate.comparison import compare_runs, group_scores
    from segloop.evaluate.pages import as_html, as_markdown, report_tables
    from segloop.evaluate.plots import draw_plots
    from segloop.evaluate.report import write_text
    from segloop.evaluate.runs import read_run

    group_of = _group_of(by, groups)
    runs = [read_run(folder) for folder in folders]
    lines = compare_runs(runs, seed)
    groupings = (
        [one for run in runs for one in group_scores(run, group_of, seed)] if group_of else []
    )
    plots = draw_plots(runs)
    prepare_folder(out)
    tables = report_tables(runs, lines, groupings)
    title = f"{runs[0].task}: {', '.join(run.label for run in runs)}"
    names = {f"{plot.title.lower().replace(' ', '-')}.png": plot for plot in plots}
    for name, plot in names.items():
        (out / name).write_bytes(plot.png)
    write_text(out / "report.md", as_markdown(title, tables, names))
    typer.echo(write_text(out / "report.html", as_html(title, tables, plots)))


def _group_of(by: str | None, groups: Path | None) -> GroupOf | None:
    from segloop.evaluate.comparison import by_category, by_file, by_size

    known = {"category": by_category, "size": by_size}
    if by is not None and groups is not None:
        raise InputError("--by and --groups are two ways to split: choose one")
    if by is not None and by not in known:
        raise InputError(f"--by {by!r}: choose from {', '.join(known)}, or give --groups")
    if groups is not None:
        return by_file(groups)
    return known[by] if by else None
