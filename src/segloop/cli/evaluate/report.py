"""segloop evaluate report: results side by side, and split into groups."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segloop.cli.options import DeviceOption, OutOption, ThreadsOption
from segloop.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segloop.evaluate.groups import GroupOf
    from segloop.evaluate.plots import Plot
    from segloop.evaluate.runs import Run
    from segloop.predict.predictor import Predictor


FoldersArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FOLDER|TASK.json...",
        help="Results of one evaluation; the first is what the others are held against.",
        show_default=False,
    ),
]
ByOption = Annotated[
    str | None,
    typer.Option(
        metavar="category|size", help="Also split every number by it.", show_default=False
    ),
]
GroupsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        help="Also split by a table with the columns image, group (and annotation_id).",
        show_default=False,
    ),
]
ColumnOption = Annotated[
    str, typer.Option(metavar="NAME", help="The column of --groups to split by.")
]
ScoredDataOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TAR_OR_FOLDER|SET=FOLDER|JSON=FOLDER",
        help="What was scored: draws the best, median and worst objects of points or instances. May be repeated.",
        show_default=False,
    ),
]
ScoredModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="With --data, the model that was scored, where it lies elsewhere now.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int, typer.Option(help="Of the intervals, and as given for the run with --data.")
]


def evaluate_report(
    folders: FoldersArgument,
    out: OutOption,
    by: ByOption = None,
    groups: GroupsOption = None,
    column: ColumnOption = "group",
    data: ScoredDataOption = None,
    model: ScoredModelOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Put results side by side, with plots, and say which differences exceed chance.

    Writes FOLDER/report.md with its plots, and FOLDER/report.html, a page that
    needs nothing else. With --data the model predicts some objects anew; a
    model or data other than those that were scored are refused.

    [bold]Examples[/bold]

      segloop evaluate report before/points after/points -o report
      segloop evaluate report scores/points -o report --by size
      segloop evaluate report scores/points -o report --data davis.tar
      segloop evaluate report scores/points -o report --groups people.csv
    """
    from segloop.cli.results import prepare_folder
    from segloop.evaluate.comparison import compare_runs, group_scores
    from segloop.evaluate.pages import as_html, as_markdown, report_tables
    from segloop.evaluate.plots import draw_plots
    from segloop.evaluate.report import write_text
    from segloop.evaluate.runs import read_runs

    group_of = _group_of(by, groups, column)
    runs = read_runs(folders)
    lines = compare_runs(runs, seed)
    groupings = (
        [one for run in runs for one in group_scores(run, group_of, seed)] if group_of else []
    )
    plots = [*draw_plots(runs)]
    if data:
        plots += _sheets(runs, data, model, device, threads, seed)
    prepare_folder(out)
    tables = report_tables(runs, lines, groupings)
    title = f"{runs[0].task}: {', '.join(run.label for run in runs)}"
    names = {f"{re.sub('[^a-z0-9]+', '-', plot.title.lower())}.png": plot for plot in plots}
    for name, plot in names.items():
        (out / name).write_bytes(plot.png)
    write_text(out / "report.md", as_markdown(title, tables, names))
    typer.echo(write_text(out / "report.html", as_html(title, tables, plots)))


def _sheets(
    runs: Sequence[Run],
    data: Sequence[str],
    model: str | None,
    device: str,
    threads: int | None,
    seed: int,
) -> Sequence[Plot]:
    from segloop.cli.evaluate.running import open_sets
    from segloop.evaluate.sheet import draw_sheets
    from segloop.predict.predictor import load

    def load_scored(name: str | None, closer: bool) -> Predictor:
        return load(model or name or "default", device=device, threads=threads, closer=closer)

    return draw_sheets(runs, [one.samples for one in open_sets(data, seed)], load_scored)


def _group_of(by: str | None, groups: Path | None, column: str) -> GroupOf | None:
    from segloop.evaluate.comparison import by_category, by_file, by_size

    known = {"category": by_category, "size": by_size}
    if by is not None and groups is not None:
        raise InputError("--by and --groups are two ways to split: choose one")
    if by is not None and by not in known:
        raise InputError(f"--by {by!r}: choose from {', '.join(known)}, or give --groups")
    if groups is not None:
        return by_file(groups, column)
    return known[by] if by else None
