"""Where the vectors of texts come from: one interface, and a file of vectors that were made before.

Whoever asks for a mask by words gets their vector here first; nothing below this knows a word.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from segloop.errors import InputError
from segloop.geometry.frames import FloatArray
from segloop.weights.catalog import file_identity

FILE_SUFFIXES = (".json", ".npz")


class TextVectors(Protocol):
    """A source of text vectors."""

    @property
    def identity(self) -> str:
        """Tells its vectors from those of another source."""
        ...

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        ...

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Vectors (N, width) float32 of N texts, each of length 1; InputError for a text that it has no vector for."""
        ...


class FileVectors:
    """The vectors of the texts in a file: {"text": [numbers]} as JSON, or `texts` (N,) and `vectors` (N, C) as .npz.

    Vectors of other lengths than 1 are scaled to it. Raises InputError for a file that cannot be read or has another
    layout, and for vectors that are not finite, zero, or of several widths.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the file."""
        self._path = Path(path)
        texts, rows = _read(self._path)
        try:
            matrix = np.asarray(rows, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: vectors are numbers, in every vector as many") from error
        if matrix.ndim != 2 or not matrix.size or len(matrix) != len(texts):
            raise InputError(
                f"{path}: {len(texts)} texts need as many vectors of one width, got {matrix.shape}"
            )
        if len(set(texts)) < len(texts):
            raise InputError(f"{path} has a text twice")
        self._vectors = unit_vectors(matrix, texts, str(path))
        self._row_of = {text: row for row, text in enumerate(texts)}

    @property
    def identity(self) -> str:
        """Hash of the file."""
        return file_identity(self._path)

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self._vectors.shape[1])

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Vectors (N, width) of N texts; InputError for a text that the file lacks."""
        missing = [text for text in texts if text not in self._row_of]
        if missing:
            raise InputError(
                f"{self._path} has no vector for {len(missing)} of {len(texts)} texts, such as {missing[0]!r}"
            )
        return self._vectors[[self._row_of[text] for text in texts]]


def open_vectors(source: str | Path, device: str = "cpu") -> TextVectors:
    """A file of vectors, by its suffix .json or .npz, or else the CLIP of this name or in this folder."""
    if Path(source).suffix in FILE_SUFFIXES:
        return FileVectors(source)
    from segloop.text.clip import ClipVectors

    return ClipVectors(str(source), device)


def unit_vectors(vectors: FloatArray, texts: Sequence[str], source: str) -> FloatArray:
    """The rows (N, C), one a text, scaled to length 1; InputError names the text whose vector is no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    for text, length in zip(texts, lengths[:, 0], strict=True):
        if not np.isfinite(length):
            raise InputError(f"{source}: the vector of {text!r} has numbers that are not finite")
        if not length:
            raise InputError(f"{source}: the vector of {text!r} is zero")
    return np.asarray(vectors / lengths, dtype=np.float32)


def _read(path: Path) -> tuple[list[str], npt.ArrayLike]:
    try:
        if path.suffix == ".npz":
            # NumPy leaves a file open that it opened itself and then finds damaged.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                return [str(text) for text in stored["texts"]], stored["vectors"]
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return list(content), list(content.values())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (
        AttributeError,
        BadZipFile,
        EOFError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(
            f'{path} is no file of vectors: give JSON {{"text": [numbers]}}, or texts and vectors as .npz'
        ) from error
