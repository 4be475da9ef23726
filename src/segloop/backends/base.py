"""Who runs encode and decode, and the value that passes between them.

A backend encodes and decodes and remembers nothing; every runtime behind it (PyTorch, ONNX Runtime, a browser) must
give the same masks to a stated tolerance.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from segloop.errors import InputError, WeightsError
from segloop.geometry.frames import FloatArray, Frame
from segloop.geometry.masks import IntArray
from segloop.prompts.prompt import PackedPrompts

# Draw every output whatever its predicted IoU, see Backend.decode.
DRAW_ALL: FloatArray = np.full(4, -np.inf, dtype=np.float32)
DRAW_ALL.setflags(write=False)

# Above these the automatic masks of a compact model are worth keeping, by predicted IoU and by stability: its predictions
# lie lower than those of the released models. Chosen with the default model's weights (docs/default-model.md).
COMPACT_THRESHOLDS = (0.35, 0.3)

# Decoder arrays of a batch, together: what the caches of a processor hold.
_BATCH_BYTES = 1 << 27


@dataclass(frozen=True)
class BackendSpec:
    """What a caller must know of a model: its name, the identity of its weights, and its sizes.

    identity tells embeddings of different weights apart. num_channels and grid_size are the embedding's; text_width is the
    length of its text vectors, None where it takes none. fills_boxes: see segloop.prompts.prompt.pack. automatic_thresholds:
    predicted IoU and stability score above which its automatic masks are worth keeping, None where the released ones suit.
    looks_closer: whether what is small is worth a second look, see segloop.predict.closer. tidies: whether crumbs of masks
    are taken away, see segloop.predict.tidy. sharpens: whether masks follow the image's edges, see segloop.predict.sharpen.
    """

    name: str
    identity: str
    input_size: int
    logit_size: int
    num_channels: int
    grid_size: int
    text_width: int | None = None
    fills_boxes: bool = False
    automatic_thresholds: tuple[float, float] | None = None
    looks_closer: bool = False
    tidies: bool = False
    sharpens: bool = False


class Backend(Protocol):
    """Runs one model. Its methods may be called from several threads at once."""

    @property
    def spec(self) -> BackendSpec:
        """The model's name and sizes."""
        ...

    @property
    def batch_size(self) -> int:
        """Prompts to decode together: enough to share the image's part, few enough for the caches and for memory."""
        spec = self.spec
        return max(1, _BATCH_BYTES // (4 * spec.grid_size**2 * 8 * spec.num_channels))

    @property
    def num_workers(self) -> int:
        """Batches that decode_batches works on at once."""
        return 1

    @property
    def decoder_graph(self) -> bytes | None:
        """The decoder as an ONNX file, for a browser to run; None where there is none."""
        return None

    def encode(self, image_chw: FloatArray) -> FloatArray:
        """Image embedding (C, G, G) of a prepared input (3, S, S)."""
        ...

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        """Mask logits (K, L, L) and predicted IoU (N, 4) of outputs 0, the single mask, and 1 to 3, for ambiguity.

        Only masks predicted better than floors (4,), one an output, are drawn: drawing is the dear part. The K rows run in
        the order of drawn_outputs(); by default they are all 4 N.
        """
        ...

    def decode_batches(
        self,
        features: FloatArray,
        batches: Sequence[PackedPrompts],
        floors: FloatArray = DRAW_ALL,
    ) -> Iterator[tuple[FloatArray, FloatArray]]:
        """What decode gives for each batch, in order; the next ones are worked on while the caller looks at one."""
        for batch in batches:
            yield self.decode(features, batch, floors)


def drawn_outputs(predicted_iou: FloatArray, floors: FloatArray) -> tuple[IntArray, IntArray]:
    """Prompt and output of each mask that decode draws, by prompt and then output; predicted IoU is (N, 4), floors (4,)."""
    rows, outputs = np.nonzero(~(predicted_iou <= floors))  # a broken model's NaN is drawn
    return rows, outputs


def check_decoded(logits: FloatArray, predicted_iou: FloatArray, name: str) -> None:
    """Raise WeightsError, with the name of the model, unless what decode gave are finite numbers."""
    if not (np.isfinite(predicted_iou).all() and np.isfinite(logits).all()):
        raise WeightsError(f"model {name} answers with what is no number: its weights are damaged")


def floors_for(outputs: Iterable[int], floor: float = -np.inf) -> FloatArray:
    """Floors (4,) that draw these outputs where predicted better than `floor`, and no others."""
    floors = np.full(4, np.inf, dtype=np.float32)
    floors[list(outputs)] = floor
    return floors


@dataclass(frozen=True, eq=False)
class Embedding:
    """An encoded image: features (C, G, G) float32, its frame, and the identity of the weights that made it.

    pixels: the image (H, W, 3) itself where masks are to follow its edges (segloop.predict.sharpen) or small objects are to
    be looked at again (segloop.predict.closer). Both arrays are made read-only.
    """

    features: FloatArray
    frame: Frame
    model: str
    pixels: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        self.features.setflags(write=False)
        if self.pixels is not None:
            self.pixels.setflags(write=False)

    def save(self, path: str | Path, *, pixels: bool = False) -> None:
        """Write to one .npz file, whole or not at all.

        pixels: the image too, three bytes a pixel. Without it what is loaded again gives the answers of a first look.
        """
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        header = json.dumps({"frame": asdict(self.frame), "model": self.model})
        arrays: dict[str, Any] = {"features": self.features, "header": np.array(header)}
        if pixels and self.pixels is not None:
            arrays["pixels"] = self.pixels
        try:
            with partial.open("wb") as stream:
                np.savez(stream, **arrays)
            os.replace(partial, target)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise InputError(f"cannot write {target}: {error.strerror or error}") from error

    @staticmethod
    def load(path: str | Path) -> Embedding:
        """Read what save wrote; InputError for a missing or damaged file."""
        try:
            # NumPy leaves a file open that it opened itself and then finds damaged.
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                features = stored["features"].astype(np.float32)
                pixels = stored["pixels"].astype(np.uint8) if "pixels" in stored else None
            sizes = header["frame"]
            frame = Frame(tuple(sizes["image_hw"]), sizes["input_size"], sizes["logit_size"])
            if pixels is not None and pixels.shape != (*frame.image_hw, 3):
                raise ValueError(f"an image of {pixels.shape} in a frame of {frame.image_hw}")
            return Embedding(features, frame, header["model"], pixels)
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        # NumPy's reader of damaged zip files raises RuntimeError and its kin too.
        except (
            OSError,
            LookupError,
            TypeError,
            ValueError,
            EOFError,
            RuntimeError,
            BadZipFile,
        ) as error:
            raise InputError(
                f"{path} is not an embedding written by segloop, or is damaged"
            ) from error
