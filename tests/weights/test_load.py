from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from segloop.errors import WeightsError
from segloop.model.config import MODELS, ModelConfig, with_text
from segloop.model.sam import Sam
from segloop.weights.convert import from_native
from segloop.weights.load import (
    config_from_json,
    config_to_json,
    load_sam,
    read_tensors,
    save_sam,
    weights_digest,
)


@pytest.fixture
def toy() -> Sam:
    torch.manual_seed(0)
    return Sam(MODELS["toy"]).eval()


def assert_same_weights(ours: Sam, theirs: Sam) -> None:
    expected = theirs.state_dict()
    assert set(ours.state_dict()) == set(expected)
    for name, tensor in ours.state_dict().items():
        assert tensor.dtype == torch.float32, name
        assert torch.equal(tensor, expected[name]), name


def test_an_official_file(golden_dir: Path) -> None:
    model = load_sam(golden_dir / "tiny_sam.pth")
    assert model.config == MODELS["tiny"]
    assert not model.training
    assert all(p.requires_grad and p.device.type == "cpu" for p in model.parameters())


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_pytorch_files_may_wrap_the_tensors(toy: Sam, tmp_path: Path, wrapper: str | None) -> None:
    state = from_native(toy.state_dict(), "official")
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "toy.pt")
    assert_same_weights(load_sam(tmp_path / "toy.pt"), toy)


@pytest.mark.parametrize("naming", ["official", "huggingface", "native"])
def test_safetensors_under_any_names(toy: Sam, tmp_path: Path, naming: str) -> None:
    save_file(from_native(toy.state_dict(), naming), tmp_path / "toy.safetensors")  # type: ignore[arg-type]
    model = load_sam(tmp_path / "toy.safetensors")
    assert model.config == MODELS["toy"]
    assert_same_weights(model, toy)


def test_half_precision_files_load_as_float32(toy: Sam, tmp_path: Path) -> None:
    halves = {name: tensor.bfloat16() for name, tensor in toy.state_dict().items()}
    torch.save(from_native(halves, "official"), tmp_path / "toy.pth")
    for tensor in load_sam(tmp_path / "toy.pth").state_dict().values():
        assert tensor.dtype == torch.float32


@pytest.mark.parametrize(
    "config",
    [
        MODELS["toy"],
        with_text(MODELS["toy"], 8),
        ModelConfig(MODELS["compact"].encoder, MODELS["toy"].decoder, 320, 32),
        MODELS["compact"],
    ],
    ids=["vit", "text", "compact encoder", "compact"],
)
def test_our_own_files_carry_their_configuration(config: ModelConfig, tmp_path: Path) -> None:
    model = Sam(config)
    save_sam(model, tmp_path / "model.safetensors")
    loaded = load_sam(tmp_path / "model.safetensors")
    assert loaded.config == config
    assert_same_weights(loaded, model)
    assert not any(buffer.is_meta for buffer in loaded.buffers())
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_float16_halves_the_file_but_spares_the_position_code(toy: Sam, tmp_path: Path) -> None:
    save_sam(toy, tmp_path / "whole.safetensors")
    save_sam(toy, tmp_path / "half.safetensors", torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    loaded = load_sam(tmp_path / "half.safetensors").state_dict()
    for name, tensor in toy.state_dict().items():
        exact = name == "prompt_encoder.position_code.matrix"
        assert torch.equal(loaded[name], tensor if exact else tensor.half().float()), name


def test_a_file_is_replaced_whole(toy: Sam, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("something older")
    save_sam(toy, path)
    assert_same_weights(load_sam(path), toy)


def test_saving_where_nothing_can_be_written(toy: Sam, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot write .*missing/model.safetensors"):
        save_sam(toy, tmp_path / "missing" / "model.safetensors")
    (tmp_path / "taken").mkdir()
    with pytest.raises(WeightsError, match="cannot write"):
        save_sam(toy, tmp_path / "taken")
    assert not list(tmp_path.glob("*.partial"))


def test_another_input_size(toy: Sam, tmp_path: Path) -> None:
    save_sam(toy, tmp_path / "toy.safetensors")
    model = load_sam(tmp_path / "toy.safetensors", input_size=96)
    with torch.inference_mode():
        features = model.encode(torch.randn(1, 3, 96, 96))
        logits, _ = model.decode(features, torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.long))
    assert features.shape == (1, 32, 12, 12)
    assert logits.shape == (1, 4, 48, 48)


def test_number_of_heads_may_be_given(toy: Sam, tmp_path: Path) -> None:
    torch.save(from_native(toy.state_dict(), "official"), tmp_path / "toy.pth")
    assert load_sam(tmp_path / "toy.pth", num_heads=4).config.decoder.num_heads == 4


@pytest.mark.parametrize("name", list(MODELS))
def test_configurations_survive_json(name: str) -> None:
    assert config_from_json(config_to_json(MODELS[name])) == MODELS[name]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"encoder": {"kind": "other"}}', '{"encoder": 3}']
)
def test_a_damaged_configuration_is_told(text: str) -> None:
    with pytest.raises(
        WeightsError, match="configuration in the file is damaged or of a later version"
    ):
        config_from_json(text)


class Payload:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"model": Payload(tmp_path / "executed")}, tmp_path / "evil.pth")
    (tmp_path / "older.pth").write_bytes(pickle.dumps(Payload(tmp_path / "executed")))
    with pytest.raises(WeightsError, match=r"evil\.pth: expected .* more than tensors in it"):
        load_sam(tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"older\.pth: expected"):
        load_sam(tmp_path / "older.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda pth, st: b"", "found an empty file"),
        (lambda pth, st: b"<!DOCTYPE html><title>404</title>", "found a web page of 33 bytes"),
        (
            lambda pth, st: b"version https://git-lfs.github.com/spec/v1\n",
            "found a Git LFS pointer",
        ),
        (lambda pth, st: b"\x89PNG\r\n\x1a\n" + bytes(50), "found 58 bytes of something else"),
        (lambda pth, st: b"just text", "found 9 bytes of something else"),
        (lambda pth, st: pth[: len(pth) // 2], "found a truncated or damaged PyTorch file"),
        (lambda pth, st: pth[:30], "found a truncated or damaged PyTorch file of 30 bytes"),
        (lambda pth, st: st[: len(st) // 2], "found a truncated or damaged safetensors file"),
        (lambda pth, st: st[:40], "found a truncated or damaged safetensors file of 40 bytes"),
        (lambda pth, st: st[:9], "found a truncated or damaged safetensors file of 9 bytes"),
    ],
    ids=[
        "empty",
        "html",
        "lfs",
        "png",
        "text",
        "half-pth",
        "head-pth",
        "half-st",
        "head-st",
        "nine-st",
    ],
)
def test_wrong_files_are_told_in_one_line(
    toy: Sam, tmp_path: Path, make: Callable[[bytes, bytes], bytes], found: str
) -> None:
    torch.save(from_native(toy.state_dict(), "official"), tmp_path / "toy.pth")
    save_sam(toy, tmp_path / "toy.safetensors")
    content = make((tmp_path / "toy.pth").read_bytes(), (tmp_path / "toy.safetensors").read_bytes())
    path = tmp_path / "wrong"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_sam(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected a PyTorch or safetensors weights file, ")
    assert found in message
    assert "\n" not in message


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent.pth: no such file"):
        load_sam(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="expected a weights file, found a folder"):
        load_sam(tmp_path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([torch.zeros(2)], "expected a table of tensors, found a list"),
        (
            {"weight": torch.zeros(2), "epoch": 3},
            "expected a table of tensors, found int under 'epoch'",
        ),
        ({}, "expected the tensors of a Segment Anything model .* found 0 tensors"),
        ({"fc.weight": torch.zeros(2)}, r"expected the tensors .* found 1 tensors \(fc.weight\)"),
    ],
)
def test_pytorch_files_of_something_else(tmp_path: Path, content: object, found: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=rf"other.pth: {found}") as caught:
        load_sam(tmp_path / "other.pth")
    assert "\n" not in str(caught.value)


def test_one_missing_tensor_is_named_with_the_file(toy: Sam, tmp_path: Path) -> None:
    state: dict[str, Tensor] = from_native(toy.state_dict(), "official")
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, tmp_path / "toy.pth")
    with pytest.raises(
        WeightsError, match=r"toy.pth: expected .*1 missing \(mask_decoder.iou_token.weight\)"
    ):
        load_sam(tmp_path / "toy.pth")


def test_raw_tensors_keep_their_names(toy: Sam, tmp_path: Path) -> None:
    save_file(from_native(toy.state_dict(), "huggingface"), tmp_path / "toy.safetensors")
    tensors, config = read_tensors(tmp_path / "toy.safetensors")
    assert "vision_encoder.pos_embed" in tensors
    assert config is None


def test_a_written_file_may_be_read_by_whom_other_files_may(toy_model: Sam, tmp_path: Path) -> None:
    """safetensors itself makes files for their owner alone."""
    (tmp_path / "other").touch()
    save_sam(toy_model, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_weights_are_told_apart(toy: Sam) -> None:
    other = deepcopy(toy)
    assert weights_digest(other) == weights_digest(toy)
    with torch.no_grad():
        other.mask_decoder.iou_token.weight[0, 0] += 1.0
    assert weights_digest(other) != weights_digest(toy)
