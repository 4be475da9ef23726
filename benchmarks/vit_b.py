"""ViT-B with random weights, the same for transformers and for our backends."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from transformers import SamConfig, SamModel

from segloop.backends.onnx import OnnxBackend
from segloop.backends.torch import TorchBackend
from segloop.export.onnx import export_onnx
from segloop.model.sam import Sam
from segloop.predict.predictor import Predictor
from segloop.weights.convert import infer_config, to_native
from segloop.weights.load import load_sam, save_sam

FOLDER = Path(tempfile.gettempdir()) / "segloop-benchmarks" / "vit_b"


def same_weights() -> tuple[SamModel, Predictor]:
    """Their ViT-B of random weights, biases and norms included, and ours with the same numbers."""
    torch.manual_seed(0)
    theirs = SamModel(SamConfig()).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    state = to_native(theirs.state_dict())
    with torch.device("meta"):
        model = Sam(infer_config(state))
    model.load_state_dict(state, assign=True)
    return theirs, Predictor(TorchBackend(model.eval(), "vit_b", "random"))


def in_onnx(ours: Predictor, threads: int) -> OnnxBackend:
    """The same weights as ONNX graphs, exported once and kept in the folder for temporary files."""
    backend = ours.backend
    assert isinstance(backend, TorchBackend)
    weights = FOLDER / "model.safetensors"
    if not (FOLDER / "model.json").is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        save_sam(backend._model, weights)
        export_onnx(load_sam(weights), FOLDER, name="vit_b")
    return OnnxBackend(FOLDER, threads)
