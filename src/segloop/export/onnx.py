"""From a PyTorch model to two ONNX graphs, checked against the model before they are handed over.

encoder.onnx: image (1, 3, S, S) to features (1, C, G, G). decoder.onnx: features, coords (N, T, 2), labels (N, T),
mask_logits (M, 1, L, L) and has_mask (M,), and floors (4,) to the K logits (K, L, L) above their floors and predicted_iou
(N, 4), where M is N, or 0 where no prompt has a mask. A browser runs the same decoder.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from onnx import ModelProto

from segloop.backends.base import BackendSpec
from segloop.backends.onnx import (
    DECODER_FILE,
    DESCRIPTION_FILE,
    ENCODER_FILE,
    FORMAT_VERSION,
    OnnxBackend,
)
from segloop.backends.torch import TorchBackend
from segloop.errors import InputError, WeightsError
from segloop.export.graph import PRECISIONS, Precision, check_graph, compress
from segloop.export.parity import Agreement, compare_backends
from segloop.export.trace import quiet_exporter, trace_decoder, trace_encoder
from segloop.model.sam import Sam
from segloop.weights.load import config_to_json

_LARGEST_FILE = (1 << 31) - 1


@dataclass(frozen=True)
class Tolerance:
    """The least agreement with the PyTorch model that a precision must reach, as Agreement measures it."""

    logit_difference: float
    mask_iou: float


TOLERANCES = {
    "float32": Tolerance(logit_difference=1e-2, mask_iou=0.999),
    "float16": Tolerance(logit_difference=0.1, mask_iou=0.99),
    "int8": Tolerance(logit_difference=2.0, mask_iou=0.90),
}


@dataclass(frozen=True)
class ExportReport:
    """What was written, its size in bytes, and how far it agrees with the PyTorch model."""

    folder: Path
    spec: BackendSpec
    precision: Precision
    encoder_bytes: int
    decoder_bytes: int
    agreement: Agreement


class ExportError(RuntimeError):
    """The exported graphs do not agree with the model they were made from."""


def export_onnx(
    model: Sam,
    folder: str | Path,
    *,
    name: str,
    precision: Precision = "float32",
    source: str = "",
    automatic_thresholds: tuple[float, float] | None = None,
) -> ExportReport:
    """Write encoder.onnx, decoder.onnx and model.json to `folder`, all or none of them.

    name is the model's in every result; source says where its weights come from. precision is that of the stored weights:
    float16 and int8 save bytes, not time. automatic_thresholds: see BackendSpec, by default what suits the family. A text
    projection is left out. Other files in the folder stay.
    Raises InputError for an unknown precision or a model too large for one file, WeightsError for a folder that cannot be
    written, ExportError where the graphs miss the tolerance of their precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise WeightsError(f"{target} is a file; name a folder to export to")
    own = copy.deepcopy(model).cpu().float().eval()
    with torch.no_grad(), quiet_exporter():
        graphs = {ENCODER_FILE: trace_encoder(own), DECODER_FILE: trace_decoder(own)}
    contents = {file: _serialize(graph, file, precision) for file, graph in graphs.items()}
    identity = hashlib.sha256(b"".join(contents.values())).hexdigest()[:16]
    backend = TorchBackend(own, name, identity, automatic_thresholds=automatic_thresholds)
    spec = replace(backend.spec, text_width=None)
    description = {
        "format": FORMAT_VERSION,
        "spec": asdict(spec),
        "precision": precision,
        "source": source,
        "config": json.loads(config_to_json(own.config)),
        "files": {
            file: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for file, content in contents.items()
        },
    }
    contents[DESCRIPTION_FILE] = (json.dumps(description, indent=2) + "\n").encode()
    partial = target.with_name(target.name + ".partial")
    try:
        _write(partial, contents)
        agreement = compare_backends(backend, OnnxBackend(partial))
        _judge(agreement, precision)
        _publish(partial, target, tuple(contents))
    except OSError as error:
        raise WeightsError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return ExportReport(
        folder=target,
        spec=spec,
        precision=precision,
        encoder_bytes=len(contents[ENCODER_FILE]),
        decoder_bytes=len(contents[DECODER_FILE]),
        agreement=agreement,
    )


def _serialize(graph: ModelProto, file: str, precision: Precision) -> bytes:
    compress(graph, precision)
    if graph.ByteSize() > _LARGEST_FILE:
        raise InputError(
            f"{file} would exceed 2 GB, the limit of ONNX; export with precision 'float16'"
        )
    check_graph(graph)
    return graph.SerializeToString(deterministic=True)


def _judge(agreement: Agreement, precision: Precision) -> None:
    tolerance = TOLERANCES[precision]
    if (
        agreement.mask_iou < tolerance.mask_iou
        or agreement.logit_difference > tolerance.logit_difference
    ):
        raise ExportError(
            f"the {precision} graphs differ from the model: mask IoU {agreement.mask_iou:.4f} "
            f"(at least {tolerance.mask_iou}), logits {agreement.logit_difference:.2g} "
            f"(at most {tolerance.logit_difference})"
        )


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)


def _publish(partial: Path, target: Path, files: tuple[str, ...]) -> None:
    """Move the finished files to their place; the description, which holds the checksums of the rest, goes last."""
    if not target.exists():
        os.replace(partial, target)
        return
    for file in files:
        os.replace(partial / file, target / file)
