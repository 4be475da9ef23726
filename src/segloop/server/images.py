"""The images of a server: those of its folder and those sent to it, each by the hash of its file.

A name is shown and never opened: files are found by their hash, in a table made from the folder and from uploads.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segloop.data.folder import ImageFile, NoImageError, find_images
from segloop.data.image import load_image, read_header
from segloop.errors import ImageError, InputError
from segloop.predict.cache import image_id
from segloop.server.settings import ServerSettings

_MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
# Nothing else is decoded: some of the formats that Pillow knows run other programs.
_FORMATS = {*_MEDIA_TYPES, "AVIF", "BMP", "GIF", "JPEG2000", "MPO", "PPM", "TIFF"}
_OTHER_MEDIA_TYPE = "application/octet-stream"
_MAX_NAME = 200
_log = logging.getLogger(__name__)
_MAX_UPLOADS = 10_000


@dataclass(frozen=True)
class StoredImage:
    """One image: its hash, what is shown of it, and how its file is read (ImageError where it has changed or gone).

    is_shown_as_is: whether a browser shows the file's own bytes as load_image reads them.
    """

    id: str
    name: str
    image_hw: tuple[int, int]
    num_bytes: int
    media_type: str
    is_shown_as_is: bool
    read: Callable[[], bytes]


class ImageStore:
    """Finds images by their hash. Thread-safe; its methods read files, so none belongs on an event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._scan_lock = threading.Lock()
        # One entry for each file of the folder, by what tells whether it has changed; None for what is no image.
        self._scanned: dict[tuple[str, int, int], StoredImage | None] = {}
        self._folder: dict[str, StoredImage] = {}
        self._complaint = ""
        self._uploads: OrderedDict[str, StoredImage] = OrderedDict()
        self._upload_folder = Path(tempfile.mkdtemp(prefix="segloop-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self._upload_folder, True)
        self.scan()

    def close(self) -> None:
        """Remove the uploads."""
        self._remove()

    def scan(self) -> None:
        """Look at the folder again; only files that are new or have changed are read.

        Raises InputError for a damaged tar in it, and where it is not there any more.
        """
        if self._settings.folder is None:
            return
        with self._scan_lock:
            scanned = {}
            for file in self._files(self._settings.folder):
                key = _fingerprint(file)
                if key is not None:
                    known = key in self._scanned
                    scanned[key] = self._scanned[key] if known else self._look(file)
            self._scanned = scanned
            found = [image for image in scanned.values() if image is not None]
            found.sort(key=lambda image: image.name)
            folder: dict[str, StoredImage] = {}
            for image in found:
                folder.setdefault(image.id, image)
            with self._lock:
                self._folder = folder

    def list(self) -> list[StoredImage]:
        """Images of the folder by name, then uploads in the order they came.

        Where the folder cannot be looked through again, its images are those of the last time, and a warning says why.
        """
        self._scan_again()
        with self._lock:
            uploads = [image for key, image in self._uploads.items() if key not in self._folder]
            return [*self._folder.values(), *uploads]

    def _scan_again(self) -> None:
        try:
            self.scan()
        except InputError as error:
            complaint = str(error)  # has a path: whoever runs the server is told, no client
            if complaint != self._complaint:
                _log.warning("segloop: %s", complaint)
        else:
            complaint = ""
        self._complaint = complaint

    def find(self, key: str) -> StoredImage | None:
        """The image of that hash; no file is read."""
        with self._lock:
            return self._folder.get(key) or self._uploads.get(key)

    def after(self, key: str) -> StoredImage | None:
        """The image of the folder that follows, None after the last one and after an upload."""
        with self._lock:
            keys = list(self._folder)
            if key not in self._folder or keys[-1] == key:
                return None
            return self._folder[keys[keys.index(key) + 1]]

    def new_upload(self) -> Path:
        """A place for a picture that is coming in; whoever asked passes it to `add` or removes it."""
        with tempfile.NamedTemporaryFile(dir=self._upload_folder, delete=False) as stream:
            return Path(stream.name)

    def add(self, partial: Path, name: str) -> tuple[StoredImage, bool]:
        """Take in an uploaded file, which is moved or removed; False where the image was there already.

        Raises ImageError for what is no image, damaged, or too large in pixels.
        """
        try:
            content = partial.read_bytes()
            if not content:
                raise ImageError("the upload is empty: send the bytes of an image file")
            key = image_id(content)
            known = self.find(key)
            if known is not None:
                return known, False
            target = self._upload_folder / key
            image = self._describe(content, shown_name(name), _reader(target, key))
            load_image(content, self._settings.max_pixels)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        with self._lock:
            is_new = key not in self._uploads
            self._uploads[key] = image
            self._drop_oldest()
        return image, is_new

    def _drop_oldest(self) -> None:
        limit = self._settings.max_uploads_bytes
        held = sum(image.num_bytes for image in self._uploads.values())
        while len(self._uploads) > 1 and (held > limit or len(self._uploads) > _MAX_UPLOADS):
            key, image = self._uploads.popitem(last=False)
            held -= image.num_bytes
            (self._upload_folder / key).unlink(missing_ok=True)

    def _files(self, folder: Path) -> tuple[ImageFile, ...]:
        try:
            return find_images([folder]).images
        except NoImageError:  # an empty folder is no mistake here: pictures may come
            return ()

    def _look(self, file: ImageFile) -> StoredImage | None:
        size = _num_bytes(file)
        if size is None or size > self._settings.max_file_bytes:
            return None
        try:
            content = file.read()
            key = image_id(content)
            return self._describe(content, shown_name(file.name), _checked(file, key))
        except InputError:
            return None

    def _describe(self, content: bytes, name: str, read: Callable[[], bytes]) -> StoredImage:
        header = read_header(content, self._settings.max_pixels)
        if header.format not in _FORMATS:
            raise ImageError(f"{header.format} files are not taken: send a JPEG, PNG, WebP or TIFF")
        media_type = _MEDIA_TYPES.get(header.format, _OTHER_MEDIA_TYPE)
        return StoredImage(
            id=image_id(content),
            name=name,
            image_hw=header.image_hw,
            num_bytes=len(content),
            media_type=media_type,
            is_shown_as_is=header.is_plain and media_type != _OTHER_MEDIA_TYPE,
            read=read,
        )


def shown_name(name: str) -> str:
    """A name to show, of printable characters; a folder in front of it stays only as words."""
    plain = "".join(one if one.isprintable() else " " for one in name).strip()
    plain = plain.replace("\\", "/").lstrip("/")
    parts = [part for part in plain.split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[-_MAX_NAME:] or "image"


def _reader(path: Path, key: str) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ImageError("the image is not there any more: send it again") from error
        return _unchanged(content, key)

    return read


def _checked(file: ImageFile, key: str) -> Callable[[], bytes]:
    return lambda: _unchanged(_read(file), key)


def _read(file: ImageFile) -> bytes:
    try:
        return file.read()
    except InputError as error:
        raise ImageError("the image is not there any more: list the images again") from error


def _unchanged(content: bytes, key: str) -> bytes:
    if image_id(content) != key:
        raise ImageError("the image has changed: list the images again")
    return content


def _num_bytes(file: ImageFile) -> int | None:
    if file.member.size is not None:
        return file.member.size
    try:
        return file.member.path.stat().st_size
    except OSError:
        return None


def _fingerprint(file: ImageFile) -> tuple[str, int, int] | None:
    try:
        status = file.member.path.stat()
    except OSError:
        return None
    return file.source, status.st_size, status.st_mtime_ns
