"""Writes the JSON files beside it: cases that the Python and the TypeScript code must both reproduce.

Every expected value comes from the formulas below, in exact fractions where possible, and never from segloop.
Run: python tests/vectors/generate.py
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent
FRAMES = [
    # height, width, input side, logit side
    (1024, 1024, 1024, 256),
    (1200, 1800, 1024, 256),
    (1800, 1200, 1024, 256),
    (180, 301, 256, 64),
    (427, 640, 512, 256),
    (1, 1, 512, 256),
    (1, 5000, 512, 256),
    (5000, 1, 512, 256),
    (3, 7, 64, 32),
    (683, 1024, 512, 256),
    (2160, 3840, 1024, 256),
]


def content_hw(height: int, width: int, size: int) -> tuple[int, int]:
    # In doubles, as every implementation computes it: this decides ties.
    scale = size / max(height, width)
    return max(1, math.floor(height * scale + 0.5)), max(1, math.floor(width * scale + 0.5))


def to_input(height: int, width: int, size: int, x: Fraction, y: Fraction) -> list[float]:
    content_height, content_width = content_hw(height, width, size)
    return [float(x * content_width / width), float(y * content_height / height)]


def frame_cases() -> list[dict]:
    cases = []
    for height, width, size, logit in FRAMES:
        places = [(0, 0), (width, height), (width - 1, height - 1), (width / 2, height / 3)]
        places.append((width * 0.125, height * 0.875))
        points = [
            {
                "image_xy": [x, y],
                "input_xy": to_input(height, width, size, Fraction(x), Fraction(y)),
            }
            for x, y in places
        ]
        cases.append(
            {
                "image_hw": [height, width],
                "input_size": size,
                "logit_size": logit,
                "content_hw": list(content_hw(height, width, size)),
                "points": points,
            }
        )
    return cases


def resize(rows: list[list[Fraction]], height: int, width: int) -> list[list[Fraction]]:
    """Bilinear with pixel centres at half-integers, the border repeated, no antialiasing."""
    down = [taps(place, height, len(rows)) for place in range(height)]
    across = [taps(place, width, len(rows[0])) for place in range(width)]
    return [
        [
            sum((wy * wx * rows[y][x] for y, wy in vertical for x, wx in horizontal), Fraction(0))
            for horizontal in across
        ]
        for vertical in down
    ]


def taps(place: int, target: int, source: int) -> list[tuple[int, Fraction]]:
    position = (place + Fraction(1, 2)) * source / target - Fraction(1, 2)
    low = math.floor(position)
    share = position - low
    clamp = lambda index: min(max(index, 0), source - 1)  # noqa: E731
    return [(clamp(low), 1 - share), (clamp(low + 1), share)]


def logit_cases() -> list[dict]:
    cases = []
    for height, width, size, logit in [
        (3, 5, 8, 2),
        (5, 3, 8, 4),
        (16, 16, 8, 4),
        (1, 9, 6, 3),
        (4, 4, 4, 4),
    ]:
        logits = [
            [Fraction((7 * y * y + 5 * x + 3 * x * y) % 17 - 8, 2) for x in range(logit)]
            for y in range(logit)
        ]
        content_height, content_width = content_hw(height, width, size)
        square = resize(logits, size, size)
        content = [row[:content_width] for row in square[:content_height]]
        image = resize(content, height, width)
        cases.append(
            {
                "image_hw": [height, width],
                "input_size": size,
                "logit_size": logit,
                "logits": [[float(value) for value in row] for row in logits],
                "image": [[float(value) for value in row] for row in image],
            }
        )
    return cases


def prompt_cases() -> list[dict]:
    cases = []
    for height, width, size, points, labels, box in [
        (1200, 1800, 1024, [[500, 375]], [1], None),
        (1200, 1800, 1024, [[500, 375], [1125, 625]], [1, 0], None),
        (1200, 1800, 1024, [], [], [425, 600, 700, 875]),
        (1200, 1800, 1024, [[575, 750]], [0], [425, 600, 700, 875]),
        (180, 301, 256, [[0, 0], [301, 180], [150.5, 90]], [1, 1, 0], [20.25, 30, 250, 150.75]),
        (1, 1, 512, [[0, 0]], [1], None),
        (5000, 1, 512, [[0, 4999]], [1], None),
    ]:
        coords = [to_input(height, width, size, Fraction(x), Fraction(y)) for x, y in points]
        packed = list(labels)
        if box:
            corners = (box[:2], box[2:])
            coords += [to_input(height, width, size, Fraction(x), Fraction(y)) for x, y in corners]
            packed += [2, 3]
        else:
            coords.append([0.0, 0.0])
            packed.append(-1)
        cases.append(
            {
                "image_hw": [height, width],
                "input_size": size,
                "points_xy": points,
                "labels": labels,
                "box_xyxy": box,
                "packed_coords": coords,
                "packed_labels": packed,
            }
        )
    return cases


def mask_prompt_cases() -> list[dict]:
    """Masks as prompts of their own: their tight box, and the first of their pixels farthest from all that is not mask."""
    discs = [(9, 14, 4.2, 6.1, 3.4), (21, 17, 8.0, 11.0, 6.0), (12, 40, 20.3, 3.0, 7.7)]
    masks = [
        ["1"],
        ["11111", "11111", "11111"],
        ["0000000", "0111010", "0111010", "0111110", "0000010"],
        ["1100000001111", "1100000001111", "0000000001111", "0000000001111"],
        *(
            [
                "".join(
                    "1" if math.hypot(x - cx, 1.3 * (y - cy)) < radius else "0"
                    for x in range(width)
                )
                for y in range(height)
            ]
            for height, width, cx, cy, radius in discs
        ),
    ]
    cases = []
    for rows in masks:
        height, width = len(rows), len(rows[0])
        everywhere = [(x, y) for y in range(-1, height + 1) for x in range(-1, width + 1)]
        inside = [
            (x, y)
            for x, y in everywhere
            if 0 <= y < height and 0 <= x < width and rows[y][x] == "1"
        ]
        outside = set(everywhere) - set(inside)
        depths = [min((x - u) ** 2 + (y - v) ** 2 for u, v in outside) for x, y in inside]
        xs, ys = [x for x, _ in inside], [y for _, y in inside]
        cases.append(
            {
                "rows": rows,
                "point_xy": list(inside[depths.index(max(depths))]),
                "box_xyxy": [min(xs), min(ys), max(xs), max(ys)],
            }
        )
    return cases


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


def rle_cases() -> list[dict]:
    masks = [
        ["0"],
        ["1"],
        ["00000", "00000"],
        ["111", "111"],
        ["0110", "0110", "0000"],
        ["1001", "0110", "1001"],
        ["10101010101"],
        ["1", "0", "0", "1", "1"],
        ["0" * 70 + "1" * 70 + "0" * 3] * 40,
        ["".join("1" if (x * x + 3 * y) % 7 < 3 else "0" for x in range(31)) for y in range(23)],
        [
            "".join("1" if math.hypot(x - 35, y - 18) < 15 else "0" for x in range(61))
            for y in range(37)
        ],
    ]
    cases = []
    for rows in masks:
        runs = column_runs(rows)
        size = [len(rows), len(rows[0])]
        cases.append({"size": size, "rows": rows, "runs": runs, "counts": compress(runs)})
    return cases


def column_runs(rows: list[str]) -> list[int]:
    """Lengths of runs down the columns, beginning with one of zeros, be it empty."""
    pixels = [rows[y][x] for x in range(len(rows[0])) for y in range(len(rows))]
    runs, current = [0], "0"
    for pixel in pixels:
        if pixel != current:
            runs.append(0)
            current = pixel
        runs[-1] += 1
    return runs


def compress(runs: list[int]) -> str:
    """COCO's text: from the fourth run on the difference to the run two before, five bits a character, lowest first."""
    text = ""
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        while True:
            bits, value = value & 31, value >> 5
            is_last = value == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if is_last else bits | 32))
            if is_last:
                break
    return text


def embedding_cases() -> list[dict]:
    cases = []
    for model, image_hw, sizes, channels in [
        # Largest magnitudes 127 / 2^k: scale and quotients are exact, ties among them.
        ("0123456789abcdef", (3, 5), (8, 4), [[[127, 2.5], [3.5, -0.5]], [[-63.5, 0.25], [1, 0]]]),
        ("a" * 16, (480, 640), (512, 256), [[[0]], [[-127]], [[31.75]]]),
        ("model", (1, 9000), (64, 32), [[[0, 0], [0, 0]]]),
    ]:
        values, scales = [], []
        for rows in channels:
            numbers = [Fraction(number) for row in rows for number in row]
            scale = max(map(abs, numbers)) / 127 or Fraction(1)
            scales.append(float(scale))
            values.append([round(number / scale) for number in numbers])  # half to even
        header = {
            "model": model,
            "shape": [len(channels), len(channels[0]), len(channels[0])],
            "image_hw": list(image_hw),
            "input_size": sizes[0],
            "logit_size": sizes[1],
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        packed = struct.pack("<4sI", b"SGE1", len(text)) + text
        packed += struct.pack(f"<{len(scales)}f", *scales)
        packed += b"".join(struct.pack(f"<{len(row)}b", *row) for row in values)
        unpacked = [
            value * scale for row, scale in zip(values, scales, strict=True) for value in row
        ]
        cases.append(
            {
                **header,
                "features": [float(number) for rows in channels for row in rows for number in row],
                "scales": scales,
                "values": [value for row in values for value in row],
                "unpacked": unpacked,
                "packed_hex": packed.hex(),
            }
        )
    return cases


if __name__ == "__main__":
    files = {
        "frames": {"frames": frame_cases(), "logits_to_image": logit_cases()},
        "prompts": {"prompts": prompt_cases(), "masks_alone": mask_prompt_cases()},
        "rle": {"masks": rle_cases()},
        "embedding": {"embeddings": embedding_cases()},
        "tidy": {"masks": tidy_cases()},
    }
    for name, content in files.items():
        (HERE / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
