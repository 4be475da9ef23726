"""Embeddings as they travel to a browser and lie on disk: one byte a number, and a scale for each channel.

Little endian: the four bytes SGE1; the length of the header; the header, JSON padded with spaces to a multiple of 4;
C float32 scales; C x G x G int8. A number is its byte times the scale of its channel. web/src/decoder/wire.ts reads the
same, and tests/vectors/embedding.json holds both to it.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from segloop.backends.base import Embedding
from segloop.errors import InputError
from segloop.geometry.frames import FloatArray, Frame

_MAGIC = b"SGE1"
_START = struct.Struct("<4sI")
_LARGEST = 127
_MAX_HEADER_BYTES = 1 << 16
_MAX_SIDE = (1 << 31) - 1


def pack_embedding(embedding: Embedding) -> bytes:
    """The embedding in one byte a number; each differs from the original by at most half its channel's scale.

    Raises InputError for an embedding with a number that is not finite: no mask can come of it.
    """
    features = np.asarray(embedding.features, dtype=np.float32)
    largest = np.abs(features).max(axis=(1, 2))
    if not np.isfinite(largest).all():
        raise InputError("the embedding holds numbers that are not finite; its model is broken")
    scales = (largest / np.float32(_LARGEST)).astype("<f4")
    # A channel so small that its scale is nothing counts as zero.
    scales[scales == 0] = 1.0
    steps = np.rint(features / scales[:, None, None])
    values = np.clip(steps, -_LARGEST, _LARGEST).astype(np.int8)
    header = _encode_header(embedding)
    return b"".join((_START.pack(_MAGIC, len(header)), header, scales.tobytes(), values.tobytes()))


def unpack_embedding(content: bytes) -> Embedding:
    """Read what pack_embedding wrote; InputError for anything else."""
    header = _read_header(content)
    try:
        channels, grid, width = header["shape"]
        height_width = tuple(header["image_hw"])
        sizes = (channels, grid, *height_width, header["input_size"], header["logit_size"])
        model = header["model"]
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed("its header lacks a size") from error
    if not all(type(one) is int and 0 < one <= _MAX_SIDE for one in sizes) or len(sizes) != 6:
        raise _malformed("its header has impossible sizes")
    if width != grid or type(width) is not int or not isinstance(model, str):
        raise _malformed("its header has impossible sizes")
    frame = Frame((sizes[2], sizes[3]), sizes[4], sizes[5])
    return Embedding(_read_features(content, channels, grid), frame, model)


def _encode_header(embedding: Embedding) -> bytes:
    frame = embedding.frame
    header = {
        "model": embedding.model,
        "shape": list(embedding.features.shape),
        "image_hw": list(frame.image_hw),
        "input_size": frame.input_size,
        "logit_size": frame.logit_size,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 4)


def _read_header(content: bytes) -> dict[str, Any]:
    if len(content) < _START.size or not content.startswith(_MAGIC):
        raise _malformed("it does not begin as one")
    _, length = _START.unpack_from(content)
    if length % 4 or length > _MAX_HEADER_BYTES or _START.size + length > len(content):
        raise _malformed("its header is cut short")
    try:
        header = json.loads(content[_START.size : _START.size + length].decode())
    except (ValueError, RecursionError) as error:
        raise _malformed("its header cannot be read") from error
    if not isinstance(header, dict):
        raise _malformed("its header cannot be read")
    return header


def _read_features(content: bytes, channels: int, grid: int) -> FloatArray:
    """Features (C, G, G) from the bytes after the header."""
    start = _START.size + _START.unpack_from(content)[1]
    middle, num_values = start + 4 * channels, channels * grid * grid
    if len(content) != middle + num_values:
        raise _malformed(
            f"it has {len(content)} bytes where its header wants {middle + num_values}"
        )
    scales = np.frombuffer(content, dtype="<f4", count=channels, offset=start).astype(np.float32)
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise _malformed("its scales are not all above 0")
    values = np.frombuffer(content, dtype=np.int8, offset=middle).reshape(channels, grid, grid)
    return values.astype(np.float32) * scales[:, None, None]


def _malformed(why: str) -> InputError:
    return InputError(f"not an embedding that segloop packed, or a damaged one: {why}")
