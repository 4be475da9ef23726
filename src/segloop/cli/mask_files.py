"""The files that the masks of one image become: SA-1B JSON, label map, overlay, and the image itself beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from segloop.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from segloop.cli.run_folder import Job, RunFolder
    from segloop.data.image import ImageArray
    from segloop.geometry.encoded import EncodedMasks

FORMATS = ("sa1b", "coco", "labels", "overlay")
_SA1B_IMAGES = (".jpg", ".jpeg", ".png")
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class WantedFiles:
    """Which files to make beside the JSON of each image, which is always made."""

    coco: bool = False
    labels: bool = False
    overlay: bool = False
    image: bool = False

    @staticmethod
    def parse(formats: str, copy_images: bool) -> WantedFiles:
        """From a list with commas; InputError for a format that does not exist."""
        given = [one.strip() for one in formats.split(",") if one.strip()]
        unknown = [one for one in given if one not in FORMATS]
        if unknown or not given:
            raise InputError(f"--format {formats!r}: choose from {', '.join(FORMATS)}")
        return WantedFiles("coco" in given, "labels" in given, "overlay" in given, copy_images)

    def files_of(self, job: Job) -> tuple[str, ...]:
        """The names of an image's files, its JSON last."""
        names = []
        if self.labels:
            names.append(_labels(job))
        if self.overlay:
            names.append(_overlay(job))
        if self.image:
            names.append(_copy(job))
        return (*names, f"{job.name}.json")


def write_masks(
    folder: RunFolder,
    job: Job,
    content: bytes,
    pixels: ImageArray,
    masks: EncodedMasks,
    wanted: WantedFiles,
) -> Mapping[str, int]:
    """Write the wanted files of an image: their names and sizes, the JSON last.

    content: the image as it was read; pixels: the same decoded, (H, W, 3) uint8.
    """
    from segloop.data.sa1b import encode_sa1b, image_id_of
    from segloop.geometry.label_map import label_map
    from segloop.geometry.overlay import draw_encoded

    sizes = {}
    if wanted.labels:
        sizes[_labels(job)] = folder.write(_labels(job), _encode(".png", label_map(masks)))
    if wanted.overlay:
        picture = draw_encoded(pixels, masks)
        sizes[_overlay(job)] = folder.write(_overlay(job), _encode(".jpg", picture))
    if wanted.image:
        copied = content if _is_kept(job) else _encode(".png", pixels)
        sizes[_copy(job)] = folder.write(_copy(job), copied)
    file_name = PurePosixPath(_copy(job) if wanted.image else job.image.name).name
    record = encode_sa1b(masks, file_name, image_id_of(job.name))
    sizes[f"{job.name}.json"] = folder.write(f"{job.name}.json", record)
    return sizes


def _labels(job: Job) -> str:
    return f"{job.name}_labels.png"


def _overlay(job: Job) -> str:
    return f"{job.name}_overlay.jpg"


def _is_kept(job: Job) -> bool:
    """Whether the image has a format of the SA-1B layout, so that its bytes can be copied."""
    return PurePosixPath(job.image.name).suffix.lower() in _SA1B_IMAGES


def _copy(job: Job) -> str:
    return job.name + (PurePosixPath(job.image.name).suffix if _is_kept(job) else ".png")


def _encode(suffix: str, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> bytes:
    import cv2

    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    options: Sequence[int] = (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY) if suffix == ".jpg" else ()
    done, encoded = cv2.imencode(suffix, ordered, options)
    assert done
    return encoded.tobytes()
