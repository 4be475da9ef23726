"""New training pictures from old: cut-outs pasted on photographs, with exact masks of what stays visible.

A few thousand photographs show few arrangements of things; a model that segments anything wants many (Dwibedi et al. 2017
and Ghiasi et al. 2021 found that pasting helps). Every choice comes from the generator passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from segloop.data.cutouts import Cutout, CutoutSource
from segloop.data.loader import is_held_out
from segloop.data.sample import Annotation, Sample, SampleSet
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import mask_boxes
from segloop.geometry.rle import encode_rle


@dataclass(frozen=True)
class Composition:
    """How cut-outs are pasted.

    sides: least and greatest long side, as a share of the picture's. turn: degrees either way. contrast: how much of a
    cut-out's brightness may give way to that of where it lands. light: how much brighter one side of it may be. shadow:
    chance that it throws one. least_visible: a mask of which less remains, by share, or than least_area pixels, goes.
    """

    sides: tuple[float, float] = (0.05, 0.55)
    turn: float = 25.0
    contrast: float = 0.5
    light: float = 0.2
    shadow: float = 0.5
    least_visible: float = 0.3
    least_area: int = 64


@dataclass(frozen=True, eq=False)
class Composer:
    """Makes picture after picture; each hangs on nothing but the seed and its number.

    Backgrounds are drawn evenly over sets and then over their images, cut-outs likewise over sources. objects: least and
    most of them pasted into one picture.
    """

    backgrounds: Sequence[SampleSet]
    sources: Sequence[CutoutSource]
    objects: tuple[int, int] = (1, 6)
    how: Composition = Composition()
    seed: int = 0

    def picture(self, number: int) -> Composed:
        """Picture `number`; InputError for a background that cannot be read."""
        rng = np.random.default_rng((self.seed, number))
        images = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
        background = images.read(int(rng.integers(len(images))))
        count = int(rng.integers(self.objects[0], self.objects[1] + 1))
        drawn = [self._draw(rng) for _ in range(count)]
        usable = [one for one in drawn if one is not None]
        composed = compose(background, usable, self.how, rng)
        return Composed(replace(composed, name=picture_name(number)), count, len(usable))

    def _draw(self, rng: np.random.Generator) -> Cutout | None:
        source = self.sources[int(rng.integers(len(self.sources)))]
        return source.read(int(rng.integers(len(source))))


@dataclass(frozen=True, eq=False)
class Composed:
    """A picture put together, how many cut-outs were drawn for it, and how many of them were of use."""

    sample: Sample
    num_drawn: int
    num_usable: int


def picture_name(number: int) -> str:
    """A name that training never holds out for validation: what the picture shows was trained on elsewhere."""
    name = f"{number:06d}"
    while is_held_out(name):
        name += "_"
    return name


@dataclass(frozen=True, eq=False)
class _Pasted:
    """A cut-out where it lands, a window of the picture: colour (H, W, 3), alpha (H, W) from 0 to 1, masks (M, H, W)."""

    window: tuple[slice, slice]
    color: FloatArray
    alpha: FloatArray
    masks: BoolArray


def compose(
    background: Sample, cutouts: Sequence[Cutout], how: Composition, rng: np.random.Generator
) -> Sample:
    """The background with the cut-outs pasted in turn, each on what was there before.

    Annotations are the visible parts of the background's own, which keep their category (crowds as they were), of the
    cut-outs, and of their parts.
    """
    picture = background.image.astype(np.float32)
    masks = [one.mask() for one in background.annotations]
    labels = [(one.category, one.is_crowd) for one in background.annotations]
    full = [int(mask.sum()) for mask in masks]
    for cutout in cutouts:
        pasted = _place(cutout, picture, how, rng)
        if pasted is None:
            continue
        if rng.random() < how.shadow:
            picture *= 1 - _shadow(pasted, picture.shape[:2], rng)[..., None]
        there = picture[pasted.window]
        there += pasted.alpha[..., None] * (pasted.color - there)
        visible = pasted.alpha < 0.5
        for mask in masks:
            mask[pasted.window] &= visible
        for own in pasted.masks:
            mask = np.zeros(picture.shape[:2], dtype=np.bool_)
            mask[pasted.window] = own
            masks.append(mask)
            labels.append((None, False))
            full.append(int(own.sum()))
    kept = [
        index
        for index, mask in enumerate(masks)
        if mask.sum() >= max(how.least_area, how.least_visible * full[index])
    ]
    return Sample(
        background.name,
        np.clip(np.round(picture), 0, 255).astype(np.uint8),
        tuple(
            _annotation(masks[index], number, *labels[index])
            for number, index in enumerate(kept, start=1)
        ),
    )


def _place(
    cutout: Cutout, picture: FloatArray, how: Composition, rng: np.random.Generator
) -> _Pasted | None:
    """Scale, mirror, turn and light a cut-out, and put it somewhere; None where nothing of it is left."""
    height, width = picture.shape[:2]
    wanted = np.exp(rng.uniform(*np.log(how.sides))) * max(height, width)
    turned = _turned(cutout, float(wanted), rng.uniform(-how.turn, how.turn), rng.random() < 0.5)
    if turned is None:
        return None
    pixels, masks = turned
    own_height, own_width = pixels.shape[:2]
    # Its middle is in the picture, the rest may be cut off.
    x0 = int(rng.integers(width)) - own_width // 2
    y0 = int(rng.integers(height)) - own_height // 2
    inner = np.s_[
        max(0, -y0) : min(own_height, height - y0), max(0, -x0) : min(own_width, width - x0)
    ]
    outer = np.s_[
        max(0, y0) : min(height, y0 + own_height), max(0, x0) : min(width, x0 + own_width)
    ]
    alpha = pixels[inner][..., 3] / np.float32(255)
    whole = alpha >= 0.5
    if whole.sum() < how.least_area:
        return None
    lit = _lit(pixels, picture[outer], how, rng)
    parts = masks[(slice(None), *inner)] & whole
    return _Pasted(outer, lit[inner], alpha, np.concatenate([whole[None], parts]))


def _turned(
    cutout: Cutout, side: float, degrees: float, mirrored: bool
) -> tuple[FloatArray, BoolArray] | None:
    """Pixels (H, W, 4) float RGBA and parts (P, H, W) at another scale and angle; None where a side is below 2 pixels."""
    height, width = cutout.pixels.shape[:2]
    scale = side / max(height, width)
    size = (round(width * scale), round(height * scale))
    if min(size) < 2:
        return None
    solid = cutout.pixels.astype(np.float32)
    solid[..., :3] *= solid[..., 3:] / 255  # so that colours of what is transparent do not bleed in
    filtering = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(solid, size, interpolation=filtering)
    parts = [
        cv2.resize(part.astype(np.float32), size, interpolation=filtering) for part in cutout.parts
    ]
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, 1.0)
    extent = np.abs(turn[:, :2]) @ size
    turn[:, 2] += extent / 2 - np.array(size) / 2
    if mirrored:
        small, parts = small[:, ::-1], [part[:, ::-1] for part in parts]
    box = (int(np.ceil(extent[0])), int(np.ceil(extent[1])))
    small, *parts = (
        cv2.warpAffine(np.ascontiguousarray(one), turn, box) for one in (small, *parts)
    )
    color = small[..., :3] / np.maximum(small[..., 3:] / 255, 1e-3)
    whole = np.concatenate([color, small[..., 3:]], axis=2, dtype=np.float32)
    if not parts:
        return whole, np.zeros((0, *whole.shape[:2]), dtype=np.bool_)
    return whole, np.asarray(np.stack(parts) >= 0.5)


def _lit(
    pixels: FloatArray, around: FloatArray, how: Composition, rng: np.random.Generator
) -> FloatArray:
    """Colours (H, W, 3) of a cut-out, nearer in brightness to where it lands, softened, and brighter on one side."""
    height, width = pixels.shape[:2]
    color = pixels[..., :3]
    own = float(np.average(color.mean(axis=2), weights=pixels[..., 3] + 1e-6))
    shift = how.contrast * rng.random() * (float(around.mean()) - own)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    slope = (columns / width - 0.5) * np.cos(angle) + (rows / height - 0.5) * np.sin(angle)
    lit = (color + shift) * (1 + 2 * how.light * rng.random() * slope[..., None])
    blur = rng.uniform(0, 1.2)  # photographs differ in sharpness
    if blur > 0.3:
        # Weighed by what is seen, or the black of what is transparent would darken the edge.
        weight = np.maximum(pixels[..., 3:] / 255, 1e-3)
        blurred = cv2.GaussianBlur(np.dstack([lit * weight, weight]), (0, 0), blur)
        lit = blurred[..., :3] / blurred[..., 3:]
    return np.asarray(np.clip(lit, 0, 255), dtype=np.float32)


def _shadow(pasted: _Pasted, size_hw: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """How much darker it is around a thing, (H, W) from 0 to 1: its shape, moved and blurred."""
    alpha = np.zeros(size_hw, dtype=np.float32)
    alpha[pasted.window] = pasted.alpha
    side = float(np.sqrt((alpha >= 0.5).sum()))
    dx, dy = rng.uniform(-0.15, 0.15) * side, rng.uniform(0.0, 0.2) * side
    move = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float32)
    moved = cv2.warpAffine(alpha, move, alpha.shape[::-1])
    soft = cv2.GaussianBlur(moved, (0, 0), max(0.5, rng.uniform(0.03, 0.12) * side))
    return np.asarray(soft * rng.uniform(0.1, 0.45), dtype=np.float32)


def _annotation(mask: BoolArray, number: int, category: str | None, is_crowd: bool) -> Annotation:
    x0, y0, x1, y1 = (float(one) for one in mask_boxes(mask[None])[0])
    return Annotation(
        rle=encode_rle(mask),
        area=float(mask.sum()),
        bbox_xywh=(x0, y0, x1 - x0 + 1, y1 - y0 + 1),
        id=number,
        category=category,
        is_crowd=is_crowd,
    )
