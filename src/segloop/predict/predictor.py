"""The predictor: an image in, an embedding out; an embedding and prompts in, masks out (paper §3).

It holds a backend and remembers nothing, so one predictor serves any number of threads and images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from segloop.backends.base import (
    Backend,
    BackendSpec,
    Embedding,
    check_decoded,
    drawn_outputs,
    floors_for,
)
from segloop.data.image import MAX_PIXELS, ImageSource, load_image
from segloop.data.transforms import prepare_input
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray, FloatArray, Frame
from segloop.geometry.masks import IntArray, MaskBatch, stability_score
from segloop.predict.closer import look_closer
from segloop.predict.sharpen import sharpen_answers
from segloop.predict.tidy import tidy_answers
from segloop.prompts.prompt import Prompt, pack
from segloop.weights.catalog import CHECKPOINTS, default_weights, fetch, file_identity

Outputs = Literal["auto", "single", "three", "best"]

MASK_THRESHOLD = 0.0
SINGLE_OUTPUT = 0
THREE_OUTPUTS = (1, 2, 3)
_TORCH_SUFFIXES = (".pth", ".pt", ".safetensors")
_CHUNK_PIXELS = 1 << 24


@dataclass(frozen=True)
class Predictor:
    """Segments with one backend.

    closer: look again at what is small (segloop.predict.closer). tidy: take crumbs of masks away (segloop.predict.tidy).
    sharpen: let masks follow the edges of the image (segloop.predict.sharpen). None as suits the model.
    """

    backend: Backend
    closer: bool | None = None
    tidy: bool | None = None
    sharpen: bool | None = None

    @property
    def spec(self) -> BackendSpec:
        """Name, identity and sizes of the model."""
        return self.backend.spec

    @property
    def looks_closer(self) -> bool:
        """Whether what is small gets a second look."""
        return self.spec.looks_closer if self.closer is None else self.closer

    @property
    def tidies(self) -> bool:
        """Whether crumbs of masks are taken away."""
        return self.spec.tidies if self.tidy is None else self.tidy

    @property
    def sharpens(self) -> bool:
        """Whether masks follow the edges of the image."""
        return self.spec.sharpens if self.sharpen is None else self.sharpen

    def encode(
        self, image: ImageSource, *, max_pixels: int = MAX_PIXELS, keep_pixels: bool | None = None
    ) -> Embedding:
        """Encode a path, encoded bytes, a PIL image or an (H, W, 3) uint8 RGB array, once for all its prompts.

        keep_pixels: let the embedding keep the image, so that segment can look again at what is small and let masks follow
        its edges; None where the predictor does either.
        Raises ImageError for what is no image or larger than max_pixels.
        """
        pixels = load_image(image, max_pixels)
        height, width = pixels.shape[:2]
        frame = Frame((height, width), self.spec.input_size, self.spec.logit_size)
        features = self.backend.encode(prepare_input(pixels, frame))
        keeps = self.looks_closer or self.sharpens if keep_pixels is None else keep_pixels
        # A copy: whoever fills the same array with the next picture must not change this one's answers.
        kept = (pixels.copy() if isinstance(image, np.ndarray) else pixels) if keeps else None
        return Embedding(features, frame, self.spec.identity, kept)

    def segment(
        self,
        embedding: Embedding,
        prompts: Prompt | Sequence[Prompt],
        *,
        outputs: Outputs = "auto",
        batch_size: int | None = None,
    ) -> MaskBatch:
        """Masks of one or many prompts, in the order of the prompts and then of the outputs.

        outputs: "auto" gives three masks for an ambiguous prompt and one for any other (paper §3); "single" always the
        single-mask output; "three" always the three; "best" one mask a prompt, of an ambiguous one the best predicted.
        batch_size: prompts decoded together, by default what suits the model; it changes memory, not masks.
        Raises InputError for a prompt that does not fit the image or the model, or an embedding of another model.
        """
        given = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        self._check(embedding, given, outputs, batch_size)
        logits, predicted_iou, prompt_index, output_index = self._decode(
            embedding, given, outputs, batch_size or self.backend.batch_size
        )
        if self.tidies:
            logits = tidy_answers(logits, given, prompt_index, embedding.frame)
        masks, stability = _restore(logits, embedding.frame)
        found = MaskBatch(masks, predicted_iou, stability, prompt_index, output_index, logits)
        if embedding.pixels is None:
            return found
        if self.looks_closer:
            return look_closer(self, embedding, given, found, outputs)
        return self.sharpened(embedding, given, found)

    def sharpened(
        self, embedding: Embedding, prompts: Sequence[Prompt], found: MaskBatch
    ) -> MaskBatch:
        """What was found for these prompts, with the edges of the image if this predictor sharpens."""
        if not self.sharpens or embedding.pixels is None:
            return found
        return sharpen_answers(
            found, prompts, embedding.pixels, embedding.frame, tidies=self.tidies
        )

    def _check(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        outputs: str,
        batch_size: int | None,
    ) -> None:
        if embedding.model != self.spec.identity:
            raise InputError(
                f"the embedding was made by model {embedding.model}, this one is {self.spec.identity} "
                f"({self.spec.name}); encode the image again"
            )
        if outputs not in get_args(Outputs):
            raise InputError(f"outputs is one of {', '.join(get_args(Outputs))}, got {outputs!r}")
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        for prompt in prompts:
            if prompt.text is not None:
                _check_text(np.shape(prompt.text), self.spec)

    def _decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], outputs: Outputs, batch_size: int
    ) -> tuple[FloatArray, FloatArray, IntArray, IntArray]:
        """Logits (K, L, L), predicted IoU, prompt and output of the K wanted masks, in their final order."""
        side = embedding.frame.logit_size
        logits = [np.zeros((0, side, side), dtype=np.float32)]
        predicted_iou = [np.zeros(0, dtype=np.float32)]
        places: list[tuple[int, int]] = []
        for group in pack(prompts, embedding.frame, fills_boxes=self.spec.fills_boxes):
            floors = floors_for(
                {one for index in group.index for one in _possible(prompts[index], outputs)}
            )
            batches = group.batches(batch_size)
            decoded = self.backend.decode_batches(embedding.features, batches, floors)
            for part, (drawn, all_iou) in zip(batches, decoded, strict=True):
                check_decoded(drawn, all_iou, self.spec.name)
                place_of = {
                    pair: place
                    for place, pair in enumerate(zip(*drawn_outputs(all_iou, floors), strict=True))
                }
                wanted = [
                    (row, output)
                    for row, index in enumerate(part.index)
                    for output in _wanted_outputs(prompts[index], outputs, all_iou[row])
                ]
                rows, chosen = np.array(wanted, dtype=np.int64).T
                logits.append(drawn[[place_of[pair] for pair in wanted]])
                predicted_iou.append(all_iou[rows, chosen])
                places.extend((int(part.index[row]), output) for row, output in wanted)
        prompt_index, output_index = np.array(places, dtype=np.int64).reshape(-1, 2).T
        order = np.lexsort((output_index, prompt_index))
        return (
            np.concatenate(logits)[order],
            np.concatenate(predicted_iou)[order],
            prompt_index[order],
            output_index[order],
        )


def _possible(prompt: Prompt, outputs: Outputs) -> tuple[int, ...]:
    """The outputs that may answer a prompt."""
    if outputs == "three" or (outputs != "single" and prompt.is_ambiguous):
        return THREE_OUTPUTS
    return (SINGLE_OUTPUT,)


def _wanted_outputs(prompt: Prompt, outputs: Outputs, predicted_iou: FloatArray) -> tuple[int, ...]:
    possible = _possible(prompt, outputs)
    if outputs == "best" and len(possible) > 1:
        return (possible[int(np.argmax(predicted_iou[list(possible)]))],)
    return possible


def _check_text(shape: tuple[int, ...], spec: BackendSpec) -> None:
    if spec.text_width is None:
        raise InputError(f"model {spec.name} takes no text; give points, a box or a mask")
    if shape != (spec.text_width,):
        raise InputError(
            f"a text vector of model {spec.name} has {spec.text_width} numbers, got {shape}"
        )


def _restore(logits: FloatArray, frame: Frame) -> tuple[BoolArray, FloatArray]:
    """Masks (K, H, W) in the image frame and their stability scores, a few at a time."""
    height, width = frame.image_hw
    masks = np.empty((len(logits), height, width), dtype=np.bool_)
    stability = np.empty(len(logits), dtype=np.float32)
    step = max(1, _CHUNK_PIXELS // (height * width))
    for start in range(0, len(logits), step):
        rows = slice(start, start + step)
        full = frame.logits_to_image(logits[rows])
        np.greater(full, MASK_THRESHOLD, out=masks[rows])
        stability[rows] = stability_score(full, MASK_THRESHOLD)
    return masks, stability


def load(
    name_or_path: str | Path = "default",
    *,
    device: str = "cpu",
    threads: int | None = None,
    closer: bool | None = None,
    tidy: bool | None = None,
    sharpen: bool | None = None,
) -> Predictor:
    """A predictor from a name or a file.

    "default" is the model that comes with the package; vit_b, vit_l and vit_h are the official checkpoints, downloaded
    on first use. Else a path: a folder written by export_onnx, or a .pth, .pt or .safetensors file, which needs PyTorch.
    device: cpu, cuda, cuda:1, mps; ONNX graphs run on the CPU, so another device takes the trainable weights that lie
    beside them. threads: CPU threads, all by default; with PyTorch the setting holds for the process. closer, tidy,
    sharpen: see Predictor.
    Raises InputError for an unknown name, WeightsError for a file that cannot be used.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    loaded = _load(name_or_path, device, threads)
    return replace(loaded, closer=closer, tidy=tidy, sharpen=sharpen)


def _load(name_or_path: str | Path, device: str, threads: int | None) -> Predictor:
    if name_or_path == "default":
        return _load_folder(default_weights().description.parent, "default", device, threads)
    if name_or_path in CHECKPOINTS:
        file = fetch(CHECKPOINTS[str(name_or_path)])
        return _load_torch(file, str(name_or_path), device, threads)
    path = Path(name_or_path)
    if path.is_dir():
        return _load_folder(path, None, device, threads)
    if path.suffix in _TORCH_SUFFIXES:
        return _load_torch(path, path.stem, device, threads)
    if path.suffix == ".onnx":
        raise InputError(
            f"{path}: name the folder that holds encoder.onnx, decoder.onnx and model.json"
        )
    names = ", ".join(("default", *CHECKPOINTS))
    raise InputError(
        f"no model {str(name_or_path)!r}; there are {names}, or give a folder with ONNX graphs "
        f"or a {', '.join(_TORCH_SUFFIXES)} file"
    )


def _load_folder(folder: Path, name: str | None, device: str, threads: int | None) -> Predictor:
    from segloop.backends.onnx import OnnxBackend

    if device == "cpu":
        return Predictor(OnnxBackend(folder, threads))
    trainable = folder / default_weights().model.name
    if trainable.is_file():
        from segloop.backends.onnx import read_description

        beside = read_description(folder)[0].automatic_thresholds
        return _load_torch(trainable, name or folder.name, device, threads, beside)
    raise InputError(
        f"{folder}: ONNX graphs run on the CPU; for device {device!r} name a PyTorch checkpoint"
    )


def _load_torch(
    path: Path,
    name: str,
    device: str,
    threads: int | None,
    automatic_thresholds: tuple[float, float] | None = None,
) -> Predictor:
    try:
        import torch

        from segloop.backends.torch import TorchBackend
        from segloop.weights.load import load_sam
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "segloop":
            raise
        raise InputError(
            f'{path.name} needs {error.name}, which is not installed: pip install "segloop[torch]"'
        ) from error
    if threads is not None:
        torch.set_num_threads(threads)
    backend = TorchBackend(
        load_sam(path), name, file_identity(path), device, automatic_thresholds=automatic_thresholds
    )
    return Predictor(backend)
