"""SVG drawings as pictures, with what is seen of each of their groups.

Drawings come from strangers: what they can make the renderer do is bounded here, and nothing outside the file is read.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

from segloop.data.image import ImageArray
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray

# CSS pixels a unit, at 96 to the inch.
_DPI = 96
_UNITS = {
    "": 1.0,
    "px": 1.0,
    "pt": 96 / 72,
    "pc": 16.0,
    "in": 96.0,
    "cm": 96 / 2.54,
    "mm": 9.6 / 2.54,
}
_LENGTH = re.compile(r"\s*([-+.\deE]+?)\s*(px|pt|pc|in|cm|mm|)\s*")
# The renderer calls itself for each element inside another, and crashes some 250 deep.
_MAX_DEPTH = 100
_MAX_ASPECT = 20.0
# What differs by less than this many of 255 steps is antialiasing.
_VISIBLE = 24
# Seen of a group: at least this share of the drawing, and no more than that one; two groups that share as much are one.
_LEAST, _MOST = 0.01, 0.9


def render_drawing(svg: bytes, side: int, max_parts: int = 6) -> tuple[ImageArray, list[BoolArray]]:
    """Pixels (H, W, 4) uint8 RGBA, the long side `side` pixels, and what is seen of each of its groups, (H, W) bool.

    What is seen of a group is where the drawing looks different without it. Pictures a drawing links to are left out.
    Needs resvg-py. Raises InputError for what is no drawing, does not say how large it is, or cannot be rendered.
    """
    try:
        root = ET.fromstring(svg)
        _bound(root, side)
        return _seen(root, max_parts)
    except (ET.ParseError, LookupError, ValueError) as error:
        raise InputError(f"not a drawing that can be rendered ({error})") from error


def _seen(root: ET.Element, max_parts: int) -> tuple[ImageArray, list[BoolArray]]:
    whole = _render(root)
    solid = whole[..., 3] >= 128
    area = max(int(solid.sum()), 1)
    parts: list[BoolArray] = []
    groups = [one for one in root.iter() if _tag(one) == "g"]
    for group in groups[: 3 * max_parts]:
        style = group.get("style")
        group.set("style", "display:none")
        without = _render(root)
        group.set("style", style or "")
        seen = (np.abs(whole.astype(np.int16) - without).max(axis=2) > _VISIBLE) & solid
        is_new = all((seen ^ part).sum() > (1 - _MOST) * seen.sum() for part in parts)
        if _LEAST * area < seen.sum() < _MOST * area and is_new:
            parts.append(seen)
    return whole, parts[:max_parts]


def _bound(root: ET.Element, side: int) -> None:
    """Give the drawing its size in pixels, and take links to other files out of it; ValueError where it cannot be drawn."""
    if _tag(root) != "svg":
        raise ValueError("its root is no svg element")
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"elements more than {_MAX_DEPTH} deep")
        for parent in level:
            for child in [one for one in parent if _is_link(one)]:
                parent.remove(child)
        level = [child for parent in level for child in parent]
    width, height = _size(root)
    if not 1 / _MAX_ASPECT <= width / height <= _MAX_ASPECT:
        raise ValueError(f"one side more than {_MAX_ASPECT:.0f} times the other")
    if root.get("viewBox") is None:
        root.set("viewBox", f"0 0 {width} {height}")
    scale = side / max(width, height)
    root.set("width", str(max(1, round(width * scale))))
    root.set("height", str(max(1, round(height * scale))))


def _size(root: ET.Element) -> tuple[float, float]:
    """Width and height in CSS pixels, or in the units of its view where it gives no others."""
    sides = [_LENGTH.fullmatch(root.get(name, "")) for name in ("width", "height")]
    if sides[0] and sides[1]:
        width, height = (float(one[1]) * _UNITS[one[2]] for one in sides if one)
    elif view := root.get("viewBox"):
        _, _, width, height = (float(one) for one in view.replace(",", " ").split())
    else:
        raise ValueError("it does not say how large it is")
    if not (0 < width < np.inf and 0 < height < np.inf):
        raise ValueError(f"a size of {width:g} x {height:g}")
    return width, height


def _is_link(element: ET.Element) -> bool:
    """Whether it shows another file's picture; one inside this file is its own."""
    if _tag(element) not in ("image", "feImage"):
        return False
    links = [value for name, value in element.attrib.items() if name.rpartition("}")[2] == "href"]
    return not all(link.startswith(("data:", "#")) for link in links)


def _render(root: ET.Element) -> ImageArray:
    from resvg_py import svg_to_bytes

    text = ET.tostring(root, encoding="unicode")
    png = svg_to_bytes(svg_string=text, dpi=_DPI, skip_system_fonts=True)
    with Image.open(io.BytesIO(bytes(png))) as image:
        return np.asarray(image.convert("RGBA"))


def _tag(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]
