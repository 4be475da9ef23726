"""Writes tidy.json beside it: masks with crumbs, and what is left of them, for the Python and the TypeScript code.

Every expected mask comes from the sets of cells below and never from segloop. Run: python tests/vectors/generate_tidy.py
"""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

from generate import HERE, content_hw, to_input


def tidy_cases() -> list[dict]:
    """Masks in the logit frame, the clicks they answer, and what is left of them, of images of several shapes."""
    ring = ["111111....", "1....1.1..", "1....1....", "1....1..11", "111111..11"]
    ring += [".........."] * 2 + [".1........", "......1.1.", ".........."]
    speckled = [
        "".join(
            "1"
            if math.hypot(x - 9, y - 7) < 5.5 + (x * y) % 3 or (7 * x + 5 * y) % 23 == 0
            else "."
            for x in range(20)
        )
        for y in range(20)
    ]
    # A piece of one tenth of the largest stays, a smaller one goes; a gap at the border is no hole.
    tenths = [
        "1111111111...1",
        "1111111111....",
        "11........1...",
        "1111111111.1.1",
        "1111111111..1.",
    ]
    tenths += [".............."] * 9
    pitted = ["." * 16] + [f".{'1' * 14}."] * 13 + ["." * 16] * 2
    for (x, y), side in {(3, 3): 4, (10, 9): 3, (4, 10): 1}.items():
        for row in range(y, y + side):
            pitted[row] = pitted[row][:x] + "." * side + pitted[row][x + side :]
    empty, full = ["...."] * 4, ["1111"] * 4
    cases = []
    for rows, (height, width), clicks in [
        (ring, (20, 20), []),
        (ring, (20, 20), [(2, 2, 1)]),
        (ring, (20, 20), [(16, 7, 1)]),
        (ring, (20, 20), [(3, 14, 1), (5, 5, 0)]),
        (speckled, (60, 60), [(27, 21, 1)]),
        (speckled, (60, 60), [(58, 1, 0), (27, 21, 1)]),
        (speckled, (30, 60), []),
        (speckled, (60, 17), [(3, 3, 1)]),
        (tenths, (28, 28), []),
        (tenths, (28, 28), [(27, 0, 1), (27, 7, 1)]),
        (tenths, (9, 28), [(5, 1, 1)]),
        (pitted, (16, 16), []),
        (pitted, (16, 16), [(11, 10, 0)]),
        (pitted, (16, 16), [(7, 2, 1)]),
        (empty, (8, 8), [(3, 3, 1)]),
        (full, (8, 8), [(3, 3, 0)]),
    ]:
        logit = len(rows)
        cases += [
            {
                "image_hw": [height, width],
                "input_size": 2 * logit,
                "logit_size": logit,
                "rows": rows,
                "clicks": [list(click) for click in clicks],
                "is_ambiguous": alone,
                "tidied": tidied(rows, (height, width), clicks, alone),
            }
            for alone in ((False, True) if [click[2] for click in clicks] == [1] else (False,))
        ]
    return cases


def tidied(rows: list[str], image_hw: tuple[int, int], clicks: list, alone: bool) -> list[str]:
    logit = len(rows)
    content = content_hw(*image_hw, 2 * logit)
    height, width = (math.ceil(length / 2) for length in content)
    places = {(x, y) for y in range(height) for x in range(width)}
    kept = {(x, y) for x, y in places if rows[y][x] == "1"}
    cells = {0: set(), 1: set()}
    for x, y, label in clicks:
        across, down = to_input(*image_hw, 2 * logit, Fraction(x), Fraction(y))
        cell = (math.floor((across + 0.5) / 2), math.floor((down + 0.5) / 2))
        cells[label].add((min(cell[0], width - 1), min(cell[1], height - 1)))
    islands = pieces(kept, corners=True)
    largest = max(map(len, islands), default=0)
    for island in islands:
        if len(island) < largest * (1 if alone else Fraction(1, 10)) and not island & cells[1]:
            kept -= island
    border = {(x, y) for x, y in places if x in (0, width - 1) or y in (0, height - 1)}
    holes = [
        hole
        for hole in pieces(places - kept, corners=False)
        if len(hole) < Fraction(len(kept), 10) and not hole & (border | cells[0])
    ]
    kept = kept.union(*holes)
    return [
        "".join(
            ("1" if (x, y) in kept else ".") if (x, y) in places else rows[y][x]
            for x in range(logit)
        )
        for y in range(logit)
    ]


def pieces(cells: set[tuple[int, int]], corners: bool) -> list[set[tuple[int, int]]]:
    found, left = [], set(cells)
    while left:
        piece = border = {min(left)}
        while border:
            border = {
                (x + u, y + v)
                for x, y in border
                for u, v in itertools.product((-1, 0, 1), repeat=2)
                if corners or 0 in (u, v)
            } & left - piece
            piece = piece | border
        found.append(piece)
        left -= piece
    return found


if __name__ == "__main__":
    (HERE / "tidy.json").write_text(
        json.dumps({"masks": tidy_cases()}, separators=(",", ":")) + "\n"
    )
