from __future__ import annotations

from html.parser import HTMLParser

from segloop.evaluate.comparison import Cell, Line
from segloop.evaluate.groups import Group, GroupDifference, Grouping
from segloop.evaluate.metrics import Estimate
from segloop.evaluate.pages import as_html, as_markdown, report_tables
from segloop.evaluate.plots import Plot
from segloop.evaluate.runs import Run

DATASET = {"name": "drawn", "model": "m1", "counts": {"num_images": 3}, "protocol": {"seed": 0}}
RUNS = [
    Run(
        "a<b",
        "points",
        {
            "datasets": [DATASET],
            "settings": {"grid": 16},
            "data": [{"name": "drawn", "stamp": "1"}],
        },
        (),
    ),
    Run("b", "points", {"datasets": [{**DATASET, "model": "m2"}], "settings": {"grid": 16}}, ()),
]
LINE = Line(
    "drawn",
    "1 click",
    (
        Cell("a<b", 3, Estimate(0.5, 0.4, 0.6), None),
        Cell("b", 3, Estimate(0.7, 0.6, 0.8), Estimate(0.2, 0.1, 0.3)),
    ),
)
MISSING = Line("drawn", "box", (Cell("a<b", 0, Estimate(0, 0, 0), None), LINE.cells[1]))
GROUPING = Grouping(
    "b",
    "drawn",
    "1 click",
    (
        Group("young", 9, 6, Estimate(0.5, 0.4, 0.6)),
        Group("old", 8, 7, Estimate(0.4, 0.3, 0.5)),
    ),
    (
        GroupDifference("young", "old", Estimate(0.1, 0.05, 0.15)),
        GroupDifference("old", "young", Estimate(-0.1, -0.25, 0.15)),
    ),
    2,
)
PLOT = Plot("IoU against clicks", 'A "curve".', b"\x89PNG")


class Cells(HTMLParser):
    """The texts of a page's table cells, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data


def test_tables_say_what_differs_and_what_is_beyond_chance() -> None:
    numbers, groups, conditions = report_tables(RUNS, [LINE, MISSING], [GROUPING])
    assert numbers.head == ("set", "measure", "a<b", "b")
    assert numbers.rows[0] == (
        "drawn",
        "1 click",
        "0.500 [0.400, 0.600]",
        "0.700 [0.600, 0.800] (+0.200 *)",
    )
    assert numbers.rows[1][2] == "-"
    assert [row[0] for row in groups.rows] == ["young", "old", "young"]
    assert groups.rows[2][1:] == ("less old", "", "", "0.100 [0.050, 0.150] *")
    assert groups.note.startswith("1 of 2 differences")
    assert groups.note.endswith("2 scores belong to no group.")
    alike = {row[0]: row[1] for row in conditions.rows}
    assert (alike["data"], alike["device"]) == ("no", "yes")
    assert (alike["weights"], alike["settings"]) == ("no", "yes")


def test_markdown_has_the_numbers_first_and_then_the_plots() -> None:
    tables = report_tables(RUNS, [LINE])
    text = as_markdown("points", tables, {"clicks.png": PLOT})
    assert text.startswith("# points\n\n## Numbers\n\n| set | measure | a<b | b |\n| --- |")
    assert "![IoU against clicks](clicks.png)" in text
    assert text.index("## Numbers") < text.index("clicks.png") < text.index("## Made with")


def test_the_page_stands_alone_and_shows_names_as_they_are() -> None:
    page = as_html("points: a<b", report_tables(RUNS, [LINE]), [PLOT])
    found = Cells()
    found.feed(page)
    assert "a<b" in found.cells
    assert "0.700 [0.600, 0.800] (+0.200 *)" in [cell.strip() for cell in found.cells]
    assert not {"script", "link", "iframe"} & set(found.tags)
    assert "src='data:image/png;base64,iVBORw=='" in page
    assert "http" not in page
    assert "<title>points: a&lt;b</title>" in page
