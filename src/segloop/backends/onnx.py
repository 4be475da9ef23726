"""Runs exported graphs in ONNX Runtime on the CPU; PyTorch is not needed.

A folder holds encoder.onnx, decoder.onnx and model.json, as segloop.export.onnx writes them.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from segloop.backends.base import DRAW_ALL, BackendSpec, decode_in_batches
from segloop.errors import InputError, WeightsError
from segloop.geometry.frames import FloatArray
from segloop.prompts.prompt import PackedPrompts

FORMAT_VERSION = 2
ENCODER_FILE, DECODER_FILE, DESCRIPTION_FILE = "encoder.onnx", "decoder.onnx", "model.json"
GRAPH_FILES = (ENCODER_FILE, DECODER_FILE)


class OnnxBackend:
    """The exported model in `folder`; threads is the number of CPU threads, all by default.

    Raises WeightsError for a file that is missing, damaged, or of a later format.
    """

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        place = Path(folder)
        self._spec, digests = read_description(place)
        graphs = {name: _read_graph(place / name, digests[name]) for name in GRAPH_FILES}
        self._encoder = _open_session(place / ENCODER_FILE, graphs[ENCODER_FILE], threads)
        self._decoder = _open_session(place / DECODER_FILE, graphs[DECODER_FILE], threads)

    @property
    def spec(self) -> BackendSpec:
        """The model's name and sizes."""
        return self._spec

    def encode(self, image_chw: FloatArray) -> FloatArray:
        """Image embedding (C, G, G) of a prepared input (3, S, S)."""
        (features,) = self._encoder.run(None, {"image": image_chw[None]})
        return cast("FloatArray", features[0])

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        """Mask logits (K, L, L) of the masks predicted better than floors (4,), and predicted IoU (N, 4).

        InputError for text: these graphs have no input for it.
        """
        if prompts.text is not None:
            raise InputError(
                f"model {self._spec.name} takes no text; load its PyTorch weights for that"
            )
        return decode_in_batches(
            lambda part: self._decode(features, part, floors), prompts, self._spec.batch_size
        )

    def _decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        mask_logits, has_mask = prompts.mask_logits, prompts.has_mask
        if mask_logits is None:
            # One row for all prompts lets the decoder share the image side among them.
            side = self._spec.logit_size
            mask_logits = np.zeros((1, 1, side, side), dtype=np.float32)
            has_mask = np.zeros(1, dtype=np.float32)
        inputs = {
            "features": features[None],
            "coords": prompts.coords,
            "labels": prompts.labels,
            "mask_logits": mask_logits,
            "has_mask": has_mask,
            "floors": floors,
        }
        logits, predicted_iou = self._decoder.run(None, inputs)
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


def _open_session(path: Path, content: bytes, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Without a number, ONNX Runtime counts the machine's cores, not those this process may use.
    options.intra_op_num_threads = threads or _available_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class below Exception
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path} cannot be loaded by ONNX Runtime: {reason}") from error


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
