from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segloop.errors import WeightsError
from segloop.model.config import MODELS, CompactConfig, DecoderConfig, ViTConfig, with_text
from segloop.model.sam import Sam
from segloop.weights.convert import (
    check_state,
    from_native,
    infer_config,
    resize_positions,
    to_native,
)


@pytest.fixture
def official(golden_dir: Path) -> dict[str, Tensor]:
    return torch.load(golden_dir / "tiny_sam.pth", weights_only=True)


@pytest.fixture
def toy() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(Sam(MODELS["toy"]).state_dict())


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_official_names_round_trip_exactly(official: dict[str, Tensor]) -> None:
    native = to_native(official)
    check_state(native, MODELS["tiny"])
    assert_equal(from_native(native, "official"), official)


def test_hugging_face_names_round_trip_exactly() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "global_attn_indexes": [1],
            "image_size": 64,
            "patch_size": 8,
            "window_size": 4,
            "mlp_dim": 128,
            "output_channels": 32,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={
            "hidden_size": 32,
            "image_size": 64,
            "patch_size": 8,
            "mask_input_channels": 16,
        },
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32},
    )
    theirs = transformers.SamModel(config)
    state = dict(theirs.state_dict())
    native = to_native(state)
    check_state(native, infer_config(native))
    back = from_native(native, "huggingface")
    assert_equal(back, state)
    theirs.load_state_dict(back, strict=True)


def test_hugging_face_files_hold_the_position_code_once_or_twice(toy: dict[str, Tensor]) -> None:
    twice = from_native(toy, "huggingface")
    copy = "prompt_encoder.shared_embedding.positional_embedding"
    original = "shared_image_embedding.positional_embedding"
    assert_equal(to_native(twice), toy)
    assert_equal(to_native({k: v for k, v in twice.items() if k != copy}), toy)
    assert_equal(to_native({k: v for k, v in twice.items() if k != original}), toy)
    twice[copy] = twice[copy] + 1.0
    with pytest.raises(
        WeightsError, match=r"two copies of prompt_encoder\.position_code\.matrix differ"
    ):
        to_native(twice)


def test_our_own_names_stay(toy: dict[str, Tensor]) -> None:
    assert_equal(to_native(toy), toy)
    assert_equal(from_native(toy, "native"), toy)


def test_saved_pixel_statistics_are_no_obstacle(official: dict[str, Tensor]) -> None:
    extended = {**official, "pixel_mean": torch.zeros(3), "pixel_std": torch.ones(3)}
    assert_equal(to_native(extended), to_native(official))


def test_a_model_without_foreign_name_is_refused() -> None:
    with torch.device("meta"):
        state = Sam(with_text(MODELS["toy"], 8)).state_dict()
    with pytest.raises(WeightsError, match=r"no official name for prompt_encoder.text_projection"):
        from_native(state, "official")


def test_tensors_of_another_model_are_refused(official: dict[str, Tensor]) -> None:
    with pytest.raises(
        WeightsError, match=r"expected the tensors of a Segment Anything model .* 1 tensors \(fc"
    ):
        to_native({"fc.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"found 1 others \(mask_decoder.hf_token.weight\)"):
        to_native({**official, "mask_decoder.hf_token.weight": torch.zeros(1)})


@pytest.mark.parametrize("name", list(MODELS))
def test_sizes_are_read_off_the_tensors(name: str) -> None:
    with torch.device("meta"):
        state = Sam(MODELS[name]).state_dict()
    assert infer_config(state) == MODELS[name]


def test_unusual_sizes_are_read_off_the_tensors() -> None:
    config = replace(
        MODELS["toy"],
        encoder=ViTConfig(48, 3, 4, (0, 2), patch_size=8, window_size=5, mlp_ratio=3.0),
        decoder=DecoderConfig(8, 3, 40, 24, (16, 8), 20, 4),
        input_size=96,
        width=64,
        mask_widths=(2, 6),
        text_width=11,
    )
    with torch.device("meta"):
        state = Sam(config).state_dict()
    assert infer_config(state) == config


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_compact_variant_is_read_off_the_tensors(variant: int) -> None:
    config = replace(MODELS["compact"], encoder=CompactConfig(variant, pyramid_width=96))
    with torch.device("meta"):
        state = Sam(config).state_dict()
    assert infer_config(state, num_heads=2) == config


def test_heads_of_the_decoder_are_given_or_tabled_or_eight(toy: dict[str, Tensor]) -> None:
    assert infer_config(toy).decoder.num_heads == MODELS["toy"].decoder.num_heads == 2
    assert infer_config(toy, num_heads=4).decoder.num_heads == 4
    with torch.device("meta"):
        other = Sam(replace(MODELS["toy"], input_size=128)).state_dict()
    assert infer_config(other).decoder.num_heads == 8
    with pytest.raises(WeightsError, match="cannot have 5 heads; give num_heads"):
        infer_config(toy, num_heads=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mask_decoder.iou_token.weight": None},
            r"expected 1\d\d tensors, found 1\d\d: 1 missing \(mask_dec",
        ),
        ({"extra": torch.zeros(1)}, r"0 missing, 1 unknown \(extra\)"),
        (
            {"mask_decoder.iou_token.weight": torch.zeros(1, 31)},
            r"expected mask_decoder.iou_token.weight of shape \(1, 32\), found \(1, 31\)",
        ),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_a_state_must_fit_to_the_last_tensor(
    toy: dict[str, Tensor], change: dict[str, Any], message: str
) -> None:
    state = {name: tensor for name, tensor in {**toy, **change}.items() if tensor is not None}
    with pytest.raises(WeightsError, match=message) as caught:
        check_state(state, MODELS["toy"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "replacement", "message"),
    [
        ("image_encoder.position_table", None, "expected a tensor image_encoder.position_table"),
        ("image_encoder.position_table", torch.zeros(1, 64, 32), "with 4 axes, found shape"),
        ("mask_decoder.upscale1.weight", None, "expected a tensor mask_decoder.upscale1.weight"),
        ("image_encoder.blocks.0.attention.relative_height", torch.zeros(5, 16), None),
    ],
)
def test_sizes_that_cannot_be_read_say_why(
    toy: dict[str, Tensor], name: str, replacement: Tensor | None, message: str | None
) -> None:
    if replacement is None:
        del toy[name]
    else:
        toy[name] = replacement
    if (
        message is None
    ):  # a window of another size is possible, but not with the tables of its other side
        with pytest.raises(WeightsError, match="relative_width of shape"):
            check_state(toy, infer_config(toy))
    else:
        with pytest.raises(WeightsError, match=message):
            infer_config(toy)


def test_windows_of_two_sizes_are_refused() -> None:
    with torch.device("meta"):
        state = dict(Sam(MODELS["tiny"]).state_dict())
    for side in ("height", "width"):
        state[f"image_encoder.blocks.2.attention.relative_{side}"] = torch.zeros(9, 16)
    with pytest.raises(WeightsError, match=r"windows of one size and a grid of 16, found \[5, 7\]"):
        infer_config(state)


def test_positions_resize_to_a_larger_input(toy: dict[str, Tensor]) -> None:
    rows = torch.arange(15.0)[:, None].expand(-1, 16)
    toy["image_encoder.blocks.1.attention.relative_height"] = rows.contiguous()
    toy["image_encoder.position_table"] = torch.ones(1, 8, 8, 32)
    state, config = resize_positions(toy, MODELS["toy"], 128)
    check_state(state, config)
    assert config == replace(MODELS["toy"], input_size=128)
    resized = state["image_encoder.blocks.1.attention.relative_height"]
    assert resized.shape == (31, 16)
    torch.testing.assert_close(resized[15], rows[7], msg="distance 0 must stay distance 0")
    torch.testing.assert_close(state["image_encoder.position_table"], torch.ones(1, 16, 16, 32))
    window = "image_encoder.blocks.0.attention.relative_height"
    assert state[window] is toy[window]


def test_absolute_positions_resize_bicubically(toy: dict[str, Tensor]) -> None:
    step = torch.zeros(1, 8, 8, 32)
    step[:, :, 4:] = 1.0  # a cubic overshoots at an edge, a straight line does not
    toy["image_encoder.position_table"] = step
    state, _ = resize_positions(toy, MODELS["toy"], 128)
    resized = state["image_encoder.position_table"]
    assert resized.min() < -0.01
    assert resized.max() > 1.01
    torch.testing.assert_close(resized[0, 0], resized[0, 9], msg="only columns differ")


def test_positions_of_the_same_input_stay(toy: dict[str, Tensor]) -> None:
    state, config = resize_positions(toy, MODELS["toy"], 64)
    assert_equal(state, toy)
    assert config == MODELS["toy"]


def test_positions_that_cannot_be_resized_say_why(toy: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="an input of 70 is not a multiple of 8"):
        resize_positions(toy, MODELS["toy"], 70)
    with pytest.raises(WeightsError, match="only a ViT has position tables"):
        resize_positions({}, MODELS["compact"], 1024)
