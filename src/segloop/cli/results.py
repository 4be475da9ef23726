"""What a segmentation leaves behind: pictures in a folder and a line of JSON for each mask.

Every file appears whole or not at all, and no two images of a batch share a file name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import CommandError
from segloop.cli.prompting import ObjectRequest
from segloop.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from segloop.geometry.frames import Frame
    from segloop.geometry.masks import MaskBatch

    PixelArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The masks of one image. Row i of masks answers requests[masks.prompt_index[i]]; image is (H, W, 3) uint8."""

    image: PixelArray
    frame: Frame
    requests: Sequence[ObjectRequest]
    masks: MaskBatch
    model: str


@dataclass(frozen=True)
class MaskFiles:
    """The files written for one mask; several masks may share an overlay."""

    mask: Path
    overlay: Path
    cutout: Path


def mask_records(
    result: ImageResult, files: Sequence[MaskFiles] | None = None
) -> list[dict[str, Any]]:
    """One JSON record a mask, in the keys of COCO and SA-1B; bbox is x, y, width, height and covers every pixel."""
    from segloop.geometry.rle import encode_rle

    masks = result.masks
    areas, boxes = masks.areas, masks.boxes_xyxy.astype(int)
    records = []
    for row in range(len(masks)):
        request = result.requests[int(masks.prompt_index[row])]
        x0, y0, x1, y1 = (int(side) for side in boxes[row])
        area = int(areas[row])
        record: dict[str, Any] = {"image": request.image}
        if request.id is not None:
            record["id"] = request.id
        record |= {
            "prompt": request.to_json(),
            "output": int(masks.output_index[row]),
            "predicted_iou": round(float(masks.predicted_iou[row]), 4),
            "stability_score": round(float(masks.stability_score[row]), 4),
            "area": area,
            "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if area else [0, 0, 0, 0],
            "segmentation": encode_rle(masks.masks[row]).to_json(),
            "model": result.model,
        }
        if files is not None:
            paths = files[row]
            record["files"] = {
                "mask": str(paths.mask),
                "overlay": str(paths.overlay),
                "cutout": str(paths.cutout),
            }
        records.append(record)
    return records


def write_pictures(
    result: ImageResult, folder: Path, stem: str, *, one_overlay: bool, inputs: Collection[Path]
) -> list[MaskFiles]:
    """Write mask, overlay and cut-out of every mask as PNG; the files of each mask.

    A single mask is STEM_mask.png and so on, several are STEM_0_mask.png, ... With one_overlay all masks lie on one
    STEM_overlay.png. inputs: files that must not be overwritten. Raises InputError for one of those, CommandError where
    a file cannot be written.
    """
    from segloop.geometry.overlay import cut_out

    count = len(result.masks)
    files = [_name_files(folder, stem, row, count, one_overlay) for row in range(count)]
    taken = {real_path(path) for path in inputs}
    for path in (path for each in files for path in (each.mask, each.overlay, each.cutout)):
        if real_path(path) in taken:
            raise InputError(f"{path} is an input and would be overwritten; name another folder")
    if one_overlay and count:
        _write_png(files[0].overlay, _overlay(result, range(count)))
    for row, names in enumerate(files):
        mask = result.masks.masks[row]
        _write_png(names.mask, mask.astype("uint8") * 255)
        logits = result.frame.logits_to_image(result.masks.logits[row])
        _write_png(names.cutout, cut_out(result.image, mask, logits))
        if not one_overlay:
            _write_png(names.overlay, _overlay(result, [row]))
    return files


def unique_stems(images: Sequence[Path]) -> list[str]:
    """A name for the files of each image: its own without suffix, numbered where two images would share a file."""
    stems: list[str] = []
    for image in images:
        stem, number = image.stem, 1
        while any(_may_clash(stem, other) for other in stems):
            number += 1
            stem = f"{image.stem}-{number}"
        stems.append(stem)
    return stems


def real_path(path: Path) -> Path:
    """Where the file lies, links followed as far as they lead: a circle of links is for its reader to complain of."""
    return Path(os.path.realpath(path))


def prepare_folder(folder: Path) -> None:
    """Make the folder for results; InputError where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"-o {folder} is a file; name a folder") from error
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"no permission to write in the folder {folder}")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all; CommandError where that fails."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _overlay(result: ImageResult, rows: Sequence[int]) -> PixelArray:
    from segloop.geometry.overlay import draw_masks, draw_prompt

    canvas = draw_masks(result.image, result.masks.masks[list(rows)])
    for index in sorted({int(result.masks.prompt_index[row]) for row in rows}):
        request = result.requests[index]
        points = [point[:2] for point in request.points]
        labels = [point[2] for point in request.points]
        canvas = draw_prompt(canvas, points, labels, request.box)
    return canvas


def _write_png(path: Path, pixels: PixelArray) -> None:
    import cv2

    orders = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    ordered = cv2.cvtColor(pixels, orders[pixels.shape[2]]) if pixels.ndim == 3 else pixels
    done, encoded = cv2.imencode(".png", ordered)
    assert done
    write_whole(path, encoded.tobytes())


def _name_files(folder: Path, stem: str, row: int, count: int, one_overlay: bool) -> MaskFiles:
    own = stem if count == 1 else f"{stem}_{row}"
    overlay = stem if one_overlay else own
    return MaskFiles(
        folder / f"{own}_mask.png", folder / f"{overlay}_overlay.png", folder / f"{own}_cutout.png"
    )


def _may_clash(stem: str, other: str) -> bool:
    """Whether some file of one name could be a file of the other; folders may not tell case apart."""
    first, second = stem.casefold(), other.casefold()
    numbered = r"(_\d+)?"
    return bool(
        re.fullmatch(re.escape(first) + numbered, second)
        or re.fullmatch(re.escape(second) + numbered, first)
    )
