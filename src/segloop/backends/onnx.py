"""Runs exported graphs in ONNX Runtime on the CPU; PyTorch is not needed.

A folder holds encoder.onnx, decoder.onnx and model.json, as segloop.export.onnx writes them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from segloop.backends.base import DRAW_ALL, Backend, BackendSpec
from segloop.errors import InputError, WeightsError
from segloop.geometry.frames import FloatArray
from segloop.prompts.prompt import PackedPrompts

FORMAT_VERSION = 3
ENCODER_FILE, DECODER_FILE, DESCRIPTION_FILE = "encoder.onnx", "decoder.onnx", "model.json"
GRAPH_FILES = (ENCODER_FILE, DECODER_FILE)


# More batches at once than this take memory and gain little: the caches they share are full.
_MOST_WORKERS = 8

_Decoded = tuple[FloatArray, FloatArray]


class OnnxBackend(Backend):
    """The exported model in `folder`; threads is the number of CPU threads, all by default.

    One batch is decoded by all threads, several side by side, each by its own: threads then wait for no other.
    Raises WeightsError for a file that is missing, damaged, or of a later format.
    """

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        place = Path(folder)
        self._spec, digests = read_description(place)
        graphs = {name: _read_graph(place / name, digests[name]) for name in GRAPH_FILES}
        self._threads = threads or _available_cores()
        self._encoder = _open_session(place / ENCODER_FILE, graphs[ENCODER_FILE], self._threads)
        self._decoder_graph = place / DECODER_FILE, graphs[DECODER_FILE]
        self._decoder = _open_session(*self._decoder_graph, self._threads)
        _check_sizes(self._spec, self._encoder, place)
        self._worker: onnxruntime.InferenceSession | None = None
        self._worker_lock = Lock()

    @property
    def spec(self) -> BackendSpec:
        """The model's name and sizes."""
        return self._spec

    @property
    def num_workers(self) -> int:
        """Batches that decode_batches works on at once."""
        return min(self._threads, _MOST_WORKERS)

    @property
    def decoder_graph(self) -> bytes:
        """The decoder as an ONNX file, for a browser to run."""
        return self._decoder_graph[1]

    def encode(self, image_chw: FloatArray) -> FloatArray:
        """Image embedding (C, G, G) of a prepared input (3, S, S)."""
        (features,) = self._encoder.run(None, {"image": image_chw[None]})
        return cast("FloatArray", features[0])

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> _Decoded:
        """Mask logits (K, L, L) of the masks predicted better than floors (4,), and predicted IoU (N, 4).

        InputError for text: these graphs have no input for it.
        """
        return self._decode(self._decoder, features, prompts, floors)

    def decode_batches(
        self,
        features: FloatArray,
        batches: Sequence[PackedPrompts],
        floors: FloatArray = DRAW_ALL,
    ) -> Iterator[_Decoded]:
        """What decode gives for each batch, in order and num_workers of them at once, a few ahead of the caller."""
        if len(batches) < 2 or self.num_workers < 2:
            yield from super().decode_batches(features, batches, floors)
            return
        session = self._open_worker()
        pending: deque[Future[_Decoded]] = deque()
        with ThreadPoolExecutor(self.num_workers) as pool:
            try:
                for batch in batches:
                    pending.append(pool.submit(self._decode, session, features, batch, floors))
                    if len(pending) > self.num_workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _open_worker(self) -> onnxruntime.InferenceSession:
        """The decoder once more, for several batches at once."""
        with self._worker_lock:
            if self._worker is None:
                threads = self._threads // self.num_workers
                self._worker = _open_session(*self._decoder_graph, threads)
            return self._worker

    def _decode(
        self,
        session: onnxruntime.InferenceSession,
        features: FloatArray,
        prompts: PackedPrompts,
        floors: FloatArray,
    ) -> _Decoded:
        if prompts.text is not None:
            raise InputError(
                f"model {self._spec.name} takes no text; load its PyTorch weights for that"
            )
        mask_logits, has_mask = prompts.mask_logits, prompts.has_mask
        if mask_logits is None:
            # No rows: the decoder then shares the image side among the prompts.
            side = self._spec.logit_size
            mask_logits = np.zeros((0, 1, side, side), dtype=np.float32)
            has_mask = np.zeros(0, dtype=np.float32)
        inputs = {
            "features": features[None],
            "coords": prompts.coords,
            "labels": prompts.labels,
            "mask_logits": mask_logits,
            "has_mask": has_mask,
            "floors": floors,
        }
        logits, predicted_iou = session.run(None, inputs)
        return cast("FloatArray", logits), cast("FloatArray", predicted_iou)


def read_description(folder: Path) -> tuple[BackendSpec, dict[str, str]]:
    """The sizes of the model in a folder and the SHA-256 of each of its graphs; WeightsError if model.json is no good."""
    path = folder / DESCRIPTION_FILE
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = description["format"]
        if version != FORMAT_VERSION:
            raise WeightsError(
                f"{path} has format {version!r}, this version of segloop reads {FORMAT_VERSION}; "
                "update segloop or export the model again"
            )
        spec = _spec(description["spec"])
        return spec, {name: str(description["files"][name]["sha256"]) for name in GRAPH_FILES}
    except FileNotFoundError as error:
        raise WeightsError(
            f"{folder} is not an exported model: {path.name} is missing; export one there first"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except WeightsError:  # a ValueError too
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged: expected the description of an exported model"
        ) from error


def _spec(record: dict[str, Any]) -> BackendSpec:
    """The sizes as model.json has them; TypeError or ValueError for others."""
    spec = BackendSpec(**record)
    if spec.automatic_thresholds is None:
        return spec
    predicted_iou, stability = map(float, spec.automatic_thresholds)
    return replace(spec, automatic_thresholds=(predicted_iou, stability))


def _check_sizes(spec: BackendSpec, encoder: onnxruntime.InferenceSession, folder: Path) -> None:
    """WeightsError where the description speaks of other sizes than the graphs have."""
    told = [
        [1, 3, spec.input_size, spec.input_size],
        [1, spec.num_channels, spec.grid_size, spec.grid_size],
    ]
    found = [encoder.get_inputs()[0].shape, encoder.get_outputs()[0].shape]
    if told != found or spec.logit_size != 4 * spec.grid_size:
        raise WeightsError(
            f"{folder / DESCRIPTION_FILE} is damaged: it tells of sizes {told}, the graphs have {found}; "
            "export the model again"
        )


def _read_graph(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; export the model again") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WeightsError(
            f"{path} is damaged: its {len(content)} bytes are not those {DESCRIPTION_FILE} speaks of; "
            "export the model again"
        )
    return content


def _open_session(path: Path, content: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Threads that wait for work at full speed hold up the other session, and NumPy: an encoding right after a mask took
    # twice as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class below Exception
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path} cannot be loaded by ONNX Runtime: {reason}") from error


def _available_cores() -> int:
    """The cores this process may use; left alone, ONNX Runtime counts the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
