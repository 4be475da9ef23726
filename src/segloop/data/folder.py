"""The images that paths stand for: files, folders and all below them, globs, and uncompressed tars.

Only names are read here, no image is opened; so a folder of a million images is listed in seconds.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from segloop.data.archive import Member, tar_members
from segloop.errors import ImageError, InputError

IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
_TAR_SUFFIXES = (".tar",)
_COMPRESSED_TAR_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class NoImageError(InputError):
    """Paths that are there and hold no image."""


@dataclass(frozen=True)
class ImageFile:
    """One image by its place. name: its path below the PATH it was found through, with suffix, parted by slashes."""

    name: str
    member: Member
    inner: str | None = None

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return str(self.member.path) if self.inner is None else f"{self.member.path}!{self.inner}"

    @cached_property
    def source(self) -> str:
        """One name for it wherever one stands: the resolved path, and its name in a tar."""
        path = str(self.member.path.resolve())
        return path if self.inner is None else f"{path}!{self.inner}"

    def read(self) -> bytes:
        """The encoded image; ImageError where there is nothing to read."""
        try:
            encoded = self.member.read()
        except FileNotFoundError as error:
            raise ImageError("no such file any more") from error
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror or error}") from error
        if not encoded:
            raise ImageError("the file is empty")
        if self.member.size is not None and len(encoded) != self.member.size:
            raise ImageError("the tar is cut short")
        return encoded


@dataclass(frozen=True)
class FoundImages:
    """The images in their order, and how many files were left alone because they lie in the excluded folder."""

    images: tuple[ImageFile, ...]
    num_excluded: int


def find_images(paths: Sequence[str | Path], *, exclude: Path | None = None) -> FoundImages:
    """The images that paths stand for, each once, in the order of the paths and then of their names.

    A path is an image, a folder (searched to any depth), an uncompressed tar, or a pattern with * ? [ ] or **. A file that
    is named itself is taken whatever its suffix; among others only those with the suffix of an image or .tar, and none
    whose name begins with a dot. exclude: a folder whose files are left alone, for results that lie among the images.
    Raises InputError for a path that is not there, a pattern without match or a damaged tar, NoImageError where there is no
    image.
    """
    search = _Search(None if exclude is None else exclude.resolve())
    found: dict[str, ImageFile] = {}
    for path in map(str, paths):
        for image in search.images_of(path):
            found.setdefault(image.source, image)
    if not found:
        places = ", ".join(map(str, paths))
        if search.num_excluded:
            raise NoImageError(f"{places}: all images there lie in the output folder {exclude}")
        raise NoImageError(f"{places}: no image there ({' '.join(IMAGE_SUFFIXES)})")
    return FoundImages(tuple(found.values()), search.num_excluded)


class _Search:
    def __init__(self, exclude: Path | None) -> None:
        self._exclude = exclude
        self.num_excluded = 0

    def images_of(self, path: str) -> Iterator[ImageFile]:
        place = Path(path)
        if place.is_dir():
            if self._is_excluded(place):
                raise InputError(
                    f"{path} lies in the output folder {self._exclude}: name another folder for the output"
                )
            yield from self._in_folder(place)
        elif place.exists():
            yield from self._named(place)
        elif glob.has_magic(path):
            yield from self._matching(path)
        else:
            raise InputError(f"{path}: no such file or folder")

    def _named(self, path: Path) -> Iterator[ImageFile]:
        if self._is_excluded(path):
            self.num_excluded += 1
        elif path.name.lower().endswith(_COMPRESSED_TAR_SUFFIXES):
            raise InputError(f"{path}: compressed; unpack it to a plain .tar, or to a folder")
        elif _is_tar(path.name):
            yield from _in_tar(path, "")
        else:
            yield ImageFile(path.name, Member(path))

    def _matching(self, pattern: str) -> Iterator[ImageFile]:
        matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  Path takes no absolute pattern
        if not matches:
            raise InputError(f"{pattern}: nothing matches")
        fixed = _fixed_part(pattern)
        for match in map(Path, matches):
            prefix = match.relative_to(fixed).as_posix() if fixed else match.as_posix()
            if match.is_dir():
                if not self._is_excluded(match):
                    yield from self._in_folder(match, prefix)
            elif _is_tar(match.name) or _is_image(match.name):
                for image in self._named(match):
                    inner = f"{_without_suffix(prefix)}/{image.name}"
                    yield ImageFile(
                        prefix if image.inner is None else inner, image.member, image.inner
                    )

    def _in_folder(self, folder: Path, prefix: str = "") -> Iterator[ImageFile]:
        """The images in a folder and below, by name; links are followed, but round no circle."""
        seen: set[Path] = set()
        for root, folders, files in os.walk(folder, followlinks=True):
            place = Path(root)
            real = place.resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = (PurePosixPath(prefix) / place.relative_to(folder).as_posix()).as_posix()
            names = sorted(name for name in files if not name.startswith("."))
            wanted = [name for name in names if _is_image(name) or _is_tar(name)]
            if wanted and self._is_excluded(place):
                self.num_excluded += len(wanted)
                continue
            for name in wanted:
                below = name if inside == "." else f"{inside}/{name}"
                if _is_tar(name):
                    yield from _in_tar(place / name, _without_suffix(below) + "/")
                else:
                    yield ImageFile(below, Member(place / name))

    def _is_excluded(self, path: Path) -> bool:
        return self._exclude is not None and path.resolve().is_relative_to(self._exclude)


def _in_tar(path: Path, prefix: str) -> Iterator[ImageFile]:
    for inner, member in sorted(tar_members(path).items()):
        # A tar may name its members anyhow; a result must not land outside its folder for it.
        parts = [part for part in PurePosixPath(inner).parts if part not in ("..", ".", "/", "//")]
        if _is_image(inner) and not parts[-1].startswith("."):
            yield ImageFile(prefix + "/".join(parts), member, inner)


def _fixed_part(pattern: str) -> Path | None:
    """The folder in front of the first part that is a pattern; None where there is none."""
    parts = Path(pattern).parts
    count = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:count]) if count else None


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _is_tar(name: str) -> bool:
    return name.lower().endswith(_TAR_SUFFIXES)


def _without_suffix(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()
