"""BSDS500 as it is published: photographs, and for each the boundaries that several people drew (Arbelaez et al. 2011).

Layout: images/SPLIT/NAME.jpg and groundTruth/SPLIT/NAME.mat, in a folder or an uncompressed tar, with folders above them
or without. https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segloop.data.archive import Member, tar_members
from segloop.data.image import ImageArray, load_image
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray

SPLITS = ("test", "val", "train")
_IMAGES, _TRUTHS = "images", "groundTruth"


@dataclass(frozen=True, eq=False)
class BoundarySample:
    """One photograph (H, W, 3) and the boundary pixels that each of A people drew, (A, H, W)."""

    name: str
    image: ImageArray
    boundaries: BoolArray


@dataclass(frozen=True)
class BsdsDataset:
    """The samples of one split, in the order of their names."""

    name: str
    _entries: tuple[tuple[str, Member, Member], ...]

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int) -> BoundarySample:
        """Decode sample `index`; InputError names the sample whose image or boundaries cannot be used."""
        name, image_member, truth_member = self._entries[index]
        try:
            image = load_image(image_member.read())
            boundaries = read_boundaries(truth_member.read())
        except InputError as error:
            raise InputError(f"{self.name}/{name}: {error}") from error
        except OSError as error:
            raise InputError(
                f"{self.name}/{name}: cannot be read: {error.strerror or error}"
            ) from error
        if boundaries.shape[1:] != image.shape[:2]:
            raise InputError(
                f"{self.name}/{name}: its boundaries are {boundaries.shape[1:]} (height, width), "
                f"the image is {image.shape[:2]}"
            )
        return BoundarySample(name, image, boundaries)


def open_bsds(path: str | Path, split: str = "test") -> BsdsDataset:
    """Index one split; InputError where there is none, or an image or its boundaries are without the other."""
    if split not in SPLITS:
        raise InputError(f"BSDS500 has the splits {', '.join(SPLITS)}, not {split!r}")
    source = Path(path)
    if source.is_dir():
        members = {
            file.relative_to(source).as_posix(): Member(file)
            for file in source.rglob("*")
            if file.suffix in (".jpg", ".mat")
        }
    elif source.is_file():
        members = tar_members(source)
    else:
        raise InputError(f"{source}: no such tar or folder")
    images = _find(members, (_IMAGES, split), ".jpg")
    truths = _find(members, (_TRUTHS, split), ".mat")
    if not images:
        raise InputError(
            f"{source} holds no {_IMAGES}/{split}/NAME.jpg with a {_TRUTHS}/{split}/NAME.mat (BSDS500)"
        )
    if alone := sorted(images.keys() ^ truths.keys()):
        kind, lack = ("image", "boundaries") if alone[0] in images else ("boundaries", "image")
        raise InputError(f"{source}: {split}/{alone[0]} has its {kind}, but no {lack}")
    entries = tuple((name, images[name], truths[name]) for name in sorted(images))
    return BsdsDataset(f"bsds500-{split}", entries)


def read_boundaries(content: bytes) -> BoolArray:
    """The boundaries (A, H, W) in the bytes of a .mat of the set, one map a person; InputError for anything else."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise InputError("BSDS500 needs SciPy: pip install 'segloop[evaluate]'") from error
    try:
        stream: Any = io.BytesIO(content)  # its types know paths only
        people = loadmat(stream)["groundTruth"].reshape(-1)
        maps = [np.asarray(person["Boundaries"][0, 0], dtype=np.bool_) for person in people]
    except Exception as error:  # the reader of damaged files raises errors of many kinds
        raise InputError("its .mat holds no boundaries of BSDS500, or is damaged") from error
    if not maps or any(one.ndim != 2 or one.shape != maps[0].shape for one in maps):
        raise InputError("its .mat holds no boundaries, or maps of several sizes")
    return np.stack(maps)


def _find(members: dict[str, Member], folder: tuple[str, str], suffix: str) -> dict[str, Member]:
    found = {}
    for text, member in members.items():
        path = PurePosixPath(text)
        if path.parts[-3:-1] == folder and path.suffix == suffix:
            found[path.stem] = member
    return found
