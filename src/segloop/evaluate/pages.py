"""A report on runs as Markdown and as a page of HTML that needs nothing else: no script, no file beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pydantic import TypeAdapter

from segloop.evaluate.comparison import Cell, Line
from segloop.evaluate.groups import FEWEST_IMAGES, Grouping
from segloop.evaluate.metrics import Estimate
from segloop.evaluate.plots import Plot
from segloop.evaluate.published import (
    PUBLISHED_HEAD,
    Comparison,
    published_notes,
    published_rows,
)
from segloop.evaluate.runs import Run

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #8886; white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
figure { margin: 1rem 0; } figcaption { font-size: .9rem; }
"""
_NOTE = (
    "Intervals are of 95%, from drawing images anew. A difference is to the first run, on what both have scored; "
    "a star marks one whose interval leaves out 0. Of NoC and failed the fewer the better, of all others the more."
)


@dataclass(frozen=True)
class Table:
    """Rows of texts below a head."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def report_tables(
    runs: Sequence[Run], lines: Sequence[Line], groupings: Sequence[Grouping] = ()
) -> tuple[Table, ...]:
    """What is reported of runs of one task: what they were, their numbers, and groups of them where asked for."""
    compared = Table(
        "Numbers",
        ("set", "measure", *(run.label for run in runs)),
        tuple((line.dataset, line.measure, *map(_show_cell, line.cells)) for line in lines),
        _NOTE,
    )
    return (compared, *_group_tables(groupings), *_published_tables(runs), _conditions(runs))


def _published_tables(runs: Sequence[Run]) -> list[Table]:
    """Of runs on any of the paper's 23 sets, what was published on them."""
    adapter = TypeAdapter(Comparison)
    known = [(run, run.report["published"]) for run in runs if run.report.get("published")]
    return [
        Table(
            f"{run.label} beside what is published",
            PUBLISHED_HEAD,
            published_rows(comparison),
            " ".join(published_notes(comparison)),
        )
        for run, record in known
        for comparison in (adapter.validate_python(record),)
    ]


def as_markdown(title: str, tables: Sequence[Table], plots: Mapping[str, Plot]) -> str:
    """The report in Markdown, plots after the first table; plots by the name of the file that each is to lie in."""
    drawn = [
        f"## {plot.title}\n\n![{plot.title}]({name})\n\n{plot.caption}"
        for name, plot in plots.items()
    ]
    written = [_table_as_markdown(table) for table in tables]
    return "\n\n".join([f"# {title}", *written[:1], *drawn, *written[1:]]) + "\n"


def as_html(title: str, tables: Sequence[Table], plots: Sequence[Plot]) -> str:
    """The report as one page, plots after the first table."""
    written = [_table_as_html(table) for table in tables]
    body = "\n".join([*written[:1], *map(_plot_as_html, plots), *written[1:]])
    return (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        "<meta name=viewport content='width=device-width'>\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n</html>\n"
    )


def _table_as_markdown(table: Table) -> str:
    lines = [table.head, tuple("---" for _ in table.head), *table.rows]
    rows = "\n".join(f"| {' | '.join(map(_cell_text, line))} |" for line in lines)
    return "\n\n".join(part for part in (f"## {table.title}", rows, table.note) if part)


def _table_as_html(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    note = f"\n<p>{escape(table.note)}</p>" if table.note else ""
    return (
        f"<h2>{escape(table.title)}</h2>\n"
        f"<div class=wide><table>\n<tr>{head}</tr>\n{rows}\n</table></div>{note}"
    )


def _plot_as_html(plot: Plot) -> str:
    image = base64.b64encode(plot.png).decode()
    return (
        f"<h2>{escape(plot.title)}</h2>\n<figure><img alt='{escape(plot.caption, quote=True)}' "
        f"src='data:image/png;base64,{image}'><figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def _group_tables(groupings: Sequence[Grouping]) -> list[Table]:
    tables = []
    for one in groupings:
        groups = [
            (group.name, "", str(group.num_images), str(group.num_scores), _show(group.mean))
            for group in one.groups
        ]
        differences = [
            (
                first.first,
                f"less {first.second}",
                "",
                "",
                _show(first.difference, first.exceeds_chance),
            )
            for first in one.differences
            if first.exceeds_chance
        ]
        left_out = f" {one.num_left_out} scores belong to no group." if one.num_left_out else ""
        num_pairs = len(one.differences)
        tables.append(
            Table(
                f"{one.run}, {one.dataset}: {one.measure} by group",
                ("group", "", "images", "scores", "mean"),
                (*groups, *differences),
                f"{len(differences)} of {num_pairs} differences between groups of {FEWEST_IMAGES} images or more "
                f"exceed chance.{left_out}",
            )
        )
    return tables


def _conditions(runs: Sequence[Run]) -> Table:
    """What the runs were made with; what is the same in all stands there as well, so that nobody has to guess."""
    rows = {
        "weights": [
            ", ".join(_distinct(one["model"] for one in run.report["datasets"])) for run in runs
        ],
        "images": [
            ", ".join(
                f"{one['name']} {one['counts']['num_images']}" for one in run.report["datasets"]
            )
            for run in runs
        ],
        "protocol": [
            "; ".join(_distinct(_flat(one.get("protocol", {})) for one in run.report["datasets"]))
            for run in runs
        ],
        "settings": [_flat(run.report.get("settings", {})) or "-" for run in runs],
        "model": [str(run.report.get("model") or "-") for run in runs],
        "data": [
            "; ".join(_flat(one) for one in run.report.get("data", ())) or "-" for run in runs
        ],
        "device": [_flat(run.report.get("device", {})) or "-" for run in runs],
        "machine": [_flat(run.report.get("machine", {})) or "-" for run in runs],
        "versions": [_flat(run.report.get("versions", {})) or "-" for run in runs],
        "commit": [str(run.report.get("commit") or "-") for run in runs],
    }
    return Table(
        "Made with",
        ("", "alike", *(run.label for run in runs)),
        tuple((name, _alike(values), *values) for name, values in rows.items()),
    )


def _alike(values: Sequence[str]) -> str:
    return "yes" if len(set(values)) == 1 else "no"


def _flat(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _distinct(values: Any) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _show_cell(cell: Cell) -> str:
    if not cell.num_scores:
        return "-"
    text = _show(cell.mean)
    if cell.difference is None:
        return text
    star = " *" if cell.exceeds_chance else ""
    return f"{text} ({cell.difference.mean:+.3f}{star})"


def _show(estimate: Estimate, is_starred: bool = False) -> str:
    star = " *" if is_starred else ""
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]{star}"


def _cell_text(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
