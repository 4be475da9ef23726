"""Where weights are found: the packaged default, and the official checkpoints, fetched once into a cache folder.

Needs neither PyTorch nor ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from segloop.data.caches import cache_folder
from segloop.errors import WeightsError

Progress = Callable[[int, int | None], None]

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Checkpoint:
    """A published weights file: where it is, the SHA-256 of its bytes, and under which licence it may be used."""

    name: str
    address: str
    sha256: str
    licence: str

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return urlsplit(self.address).path.rsplit("/", 1)[-1]


_OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything"

# The six digits in the official file names begin the MD5, not the SHA-256.
CHECKPOINTS: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Checkpoint(
            "vit_h",
            f"{_OFFICIAL}/sam_vit_h_4b8939.pth",
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            "Apache-2.0",
        ),
        Checkpoint(
            "vit_l",
            f"{_OFFICIAL}/sam_vit_l_0b3195.pth",
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            "Apache-2.0",
        ),
        Checkpoint(
            "vit_b",
            f"{_OFFICIAL}/sam_vit_b_01ec64.pth",
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            "Apache-2.0",
        ),
    )
}


@dataclass(frozen=True)
class DefaultWeights:
    """Files of the model that comes with the package: two ONNX graphs, trainable weights, and a description."""

    encoder: Path
    decoder: Path
    model: Path
    description: Path


def default_weights() -> DefaultWeights:
    """Where the packaged default model lies; whether the files are there is for their reader to find out."""
    folder = Path(__file__).parent / "default"
    return DefaultWeights(
        encoder=folder / "encoder.onnx",
        decoder=folder / "decoder.onnx",
        model=folder / "model.safetensors",
        description=folder / "model.json",
    )


def file_identity(*paths: str | Path) -> str:
    """Sixteen hex digits of the SHA-256 of the files' bytes, which tell weights apart."""
    digest = hashlib.sha256()
    for path in paths:
        _feed(digest.update, Path(path))
    return digest.hexdigest()[:16]


def find_checkpoint(name: str) -> Checkpoint:
    """The checkpoint of that name; WeightsError lists the names there are."""
    if name not in CHECKPOINTS:
        raise WeightsError(f"no published checkpoint {name!r}; there are {', '.join(CHECKPOINTS)}")
    return CHECKPOINTS[name]


def fetch(
    checkpoint: Checkpoint, folder: str | Path | None = None, progress: Progress | None = None
) -> Path:
    """The checkpoint's file in the cache folder, downloaded unless it is there.

    A file appears under its name only once its checksum was right. What an interrupted download left is continued.
    progress is called with the bytes there so far and in all (None where the server does not say).
    Raises WeightsError for anything that keeps the file from being whole.
    """
    target = Path(folder or cache_folder()) / checkpoint.file_name
    if target.is_file():
        return target
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(checkpoint.address, partial, progress or _ignore)
        found = _sha256(partial)
        if found != checkpoint.sha256:
            partial.unlink()
            raise WeightsError(
                f"{checkpoint.address}: expected SHA-256 {checkpoint.sha256[:16]}..., found {found[:16]}...; "
                "the download was removed, try again"
            )
        os.replace(partial, target)
    except urllib.error.HTTPError as error:
        raise WeightsError(
            f"{checkpoint.address}: the server said {error.code} {error.reason}"
        ) from error
    except urllib.error.URLError as error:
        raise WeightsError(f"{checkpoint.address}: cannot be reached: {error.reason}") from error
    except (TimeoutError, ConnectionError, HTTPException) as error:
        raise WeightsError(
            f"{checkpoint.address}: the connection broke; run again to continue"
        ) from error
    except OSError as error:
        raise WeightsError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _ignore(done: int, total: int | None) -> None:
    """The progress that nobody watches."""


def _download(address: str, partial: Path, progress: Progress) -> None:
    """Bring `partial` to the file's full length, continuing where it ends if the server can."""
    if urlsplit(address).scheme not in ("http", "https"):
        raise WeightsError(f"{address}: expected an http or https address")
    done = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = cast("HTTPResponse", urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS))
    except urllib.error.HTTPError as error:
        error.close()
        if done and error.code == 416:  # nothing beyond what we have: the checksum will judge it
            return
        raise
    with response:
        if done and not _continues_at(response, done):
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with partial.open("ab" if done else "wb") as stream:
            progress(done, total)
            while chunk := response.read(_CHUNK_BYTES):
                stream.write(chunk)
                done += len(chunk)
                progress(done, total)
    if total is not None and done < total:
        raise WeightsError(
            f"{address}: the download stopped at {done} of {total} bytes; run again to continue"
        )


def _continues_at(response: HTTPResponse, start: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status == 206 and content_range.startswith(f"bytes {start}-")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    _feed(digest.update, path)
    return digest.hexdigest()


def _feed(update: Callable[[bytes], None], path: Path) -> None:
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                update(chunk)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
