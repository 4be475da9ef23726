"""An export is whole, checked, and says what it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import segloop
from segloop.backends.onnx import OnnxBackend
from segloop.backends.torch import TorchBackend
from segloop.errors import InputError, WeightsError
from segloop.export import onnx as export
from segloop.export.onnx import ExportError, ExportReport, Tolerance, export_onnx
from segloop.export.parity import compare_backends
from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.weights.load import config_from_json


@pytest.fixture(scope="module")
def compact_model() -> Sam:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Sam(MODELS["compact"]).eval()


@pytest.fixture(scope="module")
def compact_export(compact_model: Sam, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("export") / "compact"
    return export_onnx(compact_model, folder, name="compact", precision="float16")


def test_the_description_says_what_is_there(toy_export: ExportReport) -> None:
    folder = toy_export.folder
    description = json.loads((folder / "model.json").read_text())
    assert description["precision"] == "float32"
    assert description["source"] == "random weights"
    assert description["spec"]["identity"] == toy_export.spec.identity
    assert config_from_json(json.dumps(description["config"])) == MODELS["toy"]
    for name, entry in description["files"].items():
        content = (folder / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    sizes = {name: entry["bytes"] for name, entry in description["files"].items()}
    assert sizes == {
        "encoder.onnx": toy_export.encoder_bytes,
        "decoder.onnx": toy_export.decoder_bytes,
    }


def test_nothing_else_is_left_behind(toy_export: ExportReport) -> None:
    names = sorted(path.name for path in toy_export.folder.iterdir())
    assert names == ["decoder.onnx", "encoder.onnx", "model.json"]
    assert [path.name for path in toy_export.folder.parent.iterdir()] == ["toy"]


def test_the_graphs_agree_with_the_model(toy_export: ExportReport) -> None:
    agreement = toy_export.agreement
    assert agreement.mask_iou >= 0.999
    assert agreement.logit_difference < 1e-3
    assert agreement.feature_difference < 1e-3


def test_sizes_are_free_and_named(toy_export: ExportReport) -> None:
    graph = onnx.load(toy_export.folder / "decoder.onnx").graph
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "features": [1, 32, 8, 8],
        "coords": ["N", "T", 2],
        "labels": ["N", "T"],
        "mask_logits": ["M", 1, 32, 32],
        "has_mask": ["M"],
        "floors": [4],
        "logits": ["K", 32, 32],
        "predicted_iou": ["N", 4],
    }


@pytest.mark.parametrize("file", ["encoder.onnx", "decoder.onnx"])
def test_a_graph_needs_only_standard_operators_and_tells_no_paths(
    file: str, toy_export: ExportReport
) -> None:
    model = onnx.load(toy_export.folder / file)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert not model.functions
    content = (toy_export.folder / file).read_bytes()
    assert b".py" not in content
    assert str(Path.home()).encode() not in content


def test_the_compact_model_fits_the_package(compact_export: ExportReport) -> None:
    # Two graphs and the trainable weights in half precision share 25 MB.
    assert compact_export.encoder_bytes + compact_export.decoder_bytes < 12_500_000


def test_what_suits_compact_models_holds_for_graphs_and_weights_alike(
    compact_export: ExportReport, compact_model: Sam, toy_export: ExportReport
) -> None:
    graphs, weights = compact_export.spec, TorchBackend(compact_model, "compact", "x").spec
    for spec in (graphs, weights):
        assert spec.automatic_thresholds == segloop.load().spec.automatic_thresholds
        assert spec.looks_closer
        assert spec.tidies
    assert toy_export.spec.automatic_thresholds is None


def test_half_precision_keeps_the_masks(compact_export: ExportReport, compact_model: Sam) -> None:
    agreement = compare_backends(
        TorchBackend(compact_model, "compact", "x"), OnnxBackend(compact_export.folder), seed=7
    )
    assert agreement.mask_iou > 0.99
    assert agreement.feature_difference < 0.02


def test_a_model_in_training_stays_as_it_was(toy_export: ExportReport, toy_model: Sam) -> None:
    assert not toy_model.training
    assert all(parameter.requires_grad for parameter in toy_model.parameters())


def test_graphs_that_differ_from_the_model_are_not_handed_over(
    toy_model: Sam, toy_export: ExportReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_traces(monkeypatch, toy_export)
    other = Sam(MODELS["toy"])
    with pytest.raises(ExportError, match="differ from the model"):
        export_onnx(other, tmp_path / "model", name="toy")
    assert list(tmp_path.iterdir()) == []
    report = export_onnx(toy_model, tmp_path / "model", name="toy")
    assert report.spec == toy_export.spec


def test_a_second_export_replaces_the_first_and_spares_the_rest(
    toy_model: Sam, toy_export: ExportReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_traces(monkeypatch, toy_export)
    folder = tmp_path / "model"
    shutil.copytree(toy_export.folder, folder)
    (folder / "model.safetensors").write_bytes(b"trainable")
    report = export_onnx(toy_model, folder, name="toy", precision="float16")
    assert report.spec.identity != toy_export.spec.identity
    assert OnnxBackend(folder).spec == report.spec
    assert (folder / "model.safetensors").read_bytes() == b"trainable"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_int8_is_a_quarter_and_keeps_most_of_the_masks(
    toy_model: Sam, toy_export: ExportReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_traces(monkeypatch, toy_export)
    report = export_onnx(toy_model, tmp_path / "model", name="toy", precision="int8")
    assert report.encoder_bytes < 0.5 * toy_export.encoder_bytes
    assert 0.9 <= report.agreement.mask_iou < 1.0


def test_a_graph_beyond_the_limit_of_onnx_asks_for_half_precision(
    toy_model: Sam, toy_export: ExportReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_traces(monkeypatch, toy_export)
    monkeypatch.setattr(export, "_LARGEST_FILE", 1000)
    with pytest.raises(InputError, match="would exceed 2 GB"):
        export_onnx(toy_model, tmp_path / "model", name="toy")


def test_an_unknown_precision_is_refused(toy_model: Sam, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one of float32, float16, int8"):
        export_onnx(toy_model, tmp_path / "model", name="toy", precision="bfloat16")  # type: ignore[arg-type]


def test_a_file_in_the_way_is_named(toy_model: Sam, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("in the way")
    with pytest.raises(WeightsError, match="is a file"):
        export_onnx(toy_model, tmp_path / "model", name="toy")


def test_every_precision_has_its_tolerance() -> None:
    assert set(export.TOLERANCES) == {"float32", "float16", "int8"}
    assert export.TOLERANCES["float32"].mask_iou >= 0.999
    assert all(isinstance(value, Tolerance) for value in export.TOLERANCES.values())
    assert np.isfinite([value.logit_difference for value in export.TOLERANCES.values()]).all()


def serve_traces(monkeypatch: pytest.MonkeyPatch, report: ExportReport) -> None:
    """Take the graphs of an earlier float32 export: a trace takes long and is the same again."""
    for name, file in (("trace_encoder", "encoder.onnx"), ("trace_decoder", "decoder.onnx")):
        graph = onnx.load(report.folder / file)
        monkeypatch.setattr(export, name, lambda _, graph=graph: copy_of(graph))


def copy_of(graph: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    return copy
