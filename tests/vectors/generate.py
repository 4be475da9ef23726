"""Writes the JSON files beside it: cases that the Python and the TypeScript code must both reproduce.

Every expected value comes from the formulas below, in exact fractions where possible, and never from segloop.
Run: python tests/vectors/generate.py
"""

from __future__ import annotations

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
    }
    for name, content in files.items():
        (HERE / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
