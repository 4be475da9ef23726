"""What the user asks for: objects in images, from the options of one call or from a file of JSON lines.

A line is {"image": "photo.jpg", "points": [[x, y], [x, y, 0]], "box": [x0, y0, x1, y1], "mask": "rough.png", "id": ...}
and describes one object. Paths in a file are relative to the file, or to the current folder when it is read from `-`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.failures import Failure
from segloop.cli.options import MAX_PIXELS
from segloop.errors import InputError, shorten

if TYPE_CHECKING:
    from segloop.prompts.prompt import Prompt

_KEYS = ("image", "points", "box", "mask", "id")
_POINT_FORM = "x,y (foreground) or x,y,1 or x,y,0 (background)"
_BOX_FORM = "x0,y0,x1,y1"

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class ObjectRequest:
    """One object to segment; points are (x, y, label), all coordinates in image pixels.

    image and mask are paths as they were given, image_path and mask_path where they are. origin says where the request was
    made, for messages about it.
    """

    image: str
    image_path: Path
    points: tuple[Numbers, ...] = ()
    box: Numbers | None = None
    mask: str | None = None
    mask_path: Path | None = None
    id: str | int | float | None = None
    origin: str = ""

    def to_prompt(self, max_pixels: int = MAX_PIXELS) -> Prompt:
        """The prompt, with its mask read, of max_pixels at most; InputError where it makes no sense."""
        from segloop.data.mask import load_mask
        from segloop.prompts.prompt import Prompt

        return Prompt(
            points_xy=[point[:2] for point in self.points] or None,
            labels=[point[2] for point in self.points] or None,
            box_xyxy=self.box,
            mask=None if self.mask_path is None else load_mask(self.mask_path, max_pixels),
        )

    def to_json(self) -> dict[str, Any]:
        """What was asked, as it stands in a line of JSON."""
        asked: dict[str, Any] = {}
        if self.points:
            asked["points"] = [[_plain(number) for number in point] for point in self.points]
        if self.box is not None:
            asked["box"] = [_plain(number) for number in self.box]
        if self.mask is not None:
            asked["mask"] = self.mask
        return asked


def request_from_options(
    image: str, points: Sequence[str], boxes: Sequence[str], masks: Sequence[str]
) -> ObjectRequest:
    """One object from the texts of --point, --box and --mask; InputError for none, or for more than one box or mask."""
    for name, given in (("box", boxes), ("mask", masks)):
        if len(given) > 1:
            raise InputError(
                f"one --{name} at most: all options describe one object; give many objects with --prompts"
            )
    if not (points or boxes or masks):
        raise InputError(
            "no prompt: say what to segment with --point, --box, --mask or --prompts; "
            "see segloop segment --help"
        )
    return ObjectRequest(
        image=image,
        image_path=Path(image),
        points=tuple(_point(_numbers(text, "--point", _POINT_FORM), text) for text in points),
        box=box_numbers(boxes[0]) if boxes else None,
        mask=masks[0] if masks else None,
        mask_path=Path(masks[0]) if masks else None,
    )


def read_requests(
    source: str, image: str | None = None
) -> tuple[list[ObjectRequest], list[Failure]]:
    """Every object of a file of JSON lines, and the lines that are none. `-` is standard input.

    image: the one that lines without an "image" mean. InputError where the file cannot be read or has no line.
    """
    name = "standard input" if source == "-" else source
    if source == "-" and sys.stdin is None:
        raise InputError("standard input is closed: pipe the lines in, or name a file of them")
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not text: --prompts wants a file of JSON lines") from error
    base = Path() if source == "-" else Path(source).parent
    requests: list[ObjectRequest] = []
    failures: list[Failure] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            origin = f"{name}, line {number}"
            try:
                requests.append(_read_line(line, origin, base, image))
            except InputError as error:
                failures.append(Failure(origin, str(error)))
            except RecursionError:
                failures.append(Failure(origin, "not JSON for prompts: too many nested brackets"))
    if not requests and not failures:
        raise InputError(f"{name} is empty: --prompts wants one JSON object a line")
    return requests, failures


def _read_line(line: str, origin: str, base: Path, image: str | None) -> ObjectRequest:
    record = _read_record(line)
    named, mask = record.get("image"), record.get("mask")
    if named is None and image is None:
        raise InputError('no "image", and none was named on the command line')
    points = record.get("points") or []
    if not isinstance(points, list):
        raise InputError('"points" must be a list of [x, y] or [x, y, label]')
    return ObjectRequest(
        image=str(image if named is None else named),
        image_path=Path(str(image)) if named is None else base / named,
        points=tuple(_point(_listed(point, "points"), str(point)) for point in points),
        box=None if record.get("box") is None else _box_list(record["box"]),
        mask=mask,
        mask_path=None if mask is None else base / mask,
        id=record.get("id"),
        origin=origin,
    )


def _read_record(line: str) -> dict[str, Any]:
    """The JSON object of a line, with keys that we know and a prompt in it."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise InputError("not a JSON object in braces")
    unknown = sorted(set(record) - set(_KEYS))
    if unknown:
        raise InputError(f"unknown key {shorten(unknown[0])!r}; there are {', '.join(_KEYS)}")
    for key in ("image", "mask"):
        if not isinstance(record.get(key), str | None):
            raise InputError(f'"{key}" must be the path of a file')
        _check_name(record.get(key) or "", key)
    named = record.get("id")
    if not isinstance(named, str | int | float | None):
        raise InputError('"id" must be text or a number')
    if isinstance(named, float) and not math.isfinite(named):
        raise InputError('"id" must be text or a finite number')
    if not any(record.get(key) for key in ("points", "box", "mask")):
        raise InputError('no prompt: give "points", "box" or "mask"')
    return record


def _check_name(name: str, key: str) -> None:
    """InputError for what no file of this system can be called."""
    try:
        is_possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise InputError(f'"{key}" {shorten(name)!r} has a character that no file name can have')


def _numbers(text: str, option: str, form: str) -> Numbers:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not {form}") from error


def _point(numbers: Numbers, text: str) -> Numbers:
    if len(numbers) not in (2, 3):
        raise InputError(f"point {shorten(text)} is not {_POINT_FORM}")
    point = numbers if len(numbers) == 3 else (*numbers, 1.0)
    if point[2] not in (0.0, 1.0):
        raise InputError(f"point {text}: its label must be 1 (foreground) or 0 (background)")
    return point


def box_numbers(text: str, option: str = "--box") -> Numbers:
    """The four numbers of a box as an option has them; InputError for anything else."""
    numbers = _numbers(text, option, _BOX_FORM)
    if len(numbers) != 4:
        raise InputError(f"{option} {text!r} is not {_BOX_FORM}")
    return numbers


def _box_list(value: object) -> Numbers:
    numbers = _listed(value, "box")
    if len(numbers) != 4:
        raise InputError('"box" must be [x0, y0, x1, y1]')
    return numbers


def _listed(value: object, key: str) -> Numbers:
    if not isinstance(value, list) or not all(
        isinstance(number, int | float) and not isinstance(number, bool) for number in value
    ):
        raise InputError(f'"{key}" must hold lists of numbers, got {json.dumps(value)[:60]}')
    try:
        return tuple(float(number) for number in value)
    except OverflowError as error:
        raise InputError(f'"{key}" has a number that is too large') from error


def _plain(number: float) -> float | int:
    return int(number) if number.is_integer() else number
