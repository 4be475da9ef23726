from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segloop.model.config import MODELS, with_text
from segloop.model.sam import Sam
from segloop.weights.names import HUGGINGFACE, OFFICIAL, NameTable, detect_naming, table_of


def native_names(size: str) -> list[str]:
    with torch.device("meta"):
        return list(Sam(MODELS[size]).state_dict())


@pytest.mark.parametrize("size", ["vit_b", "vit_h", "tiny"])
@pytest.mark.parametrize("table", [OFFICIAL, HUGGINGFACE], ids=["official", "huggingface"])
def test_every_name_goes_there_and_back(table: NameTable, size: str) -> None:
    names = native_names(size)
    foreign = [table.to_foreign(name) for name in names]
    assert None not in foreign
    assert len(set(foreign)) == len(names), "two of our names became one"
    assert [table.to_native(name) for name in foreign if name] == names


def test_every_official_name_is_known(golden_dir: Path) -> None:
    theirs = torch.load(golden_dir / "tiny_sam.pth", weights_only=True)
    assert {OFFICIAL.to_native(name) for name in theirs} == set(native_names("tiny"))


def test_examples() -> None:
    assert (
        OFFICIAL.to_native("mask_decoder.output_hypernetworks_mlps.2.layers.1.bias")
        == "mask_decoder.mask_heads.2.layers.1.bias"
    )
    # Hugging Face counts the middle layers only.
    assert (
        HUGGINGFACE.to_native("mask_decoder.output_hypernetworks_mlps.2.layers.0.bias")
        == "mask_decoder.mask_heads.2.layers.1.bias"
    )
    assert (
        HUGGINGFACE.to_native("vision_encoder.layers.11.attn.rel_pos_w")
        == "image_encoder.blocks.11.attention.relative_width"
    )


@pytest.mark.parametrize("table", [OFFICIAL, HUGGINGFACE], ids=["official", "huggingface"])
@pytest.mark.parametrize(
    "name", ["mask_decoder.hf_token.weight", "image_encoder.blocks.x.norm1.weight", "", "head.bias"]
)
def test_other_names_have_no_row(table: NameTable, name: str) -> None:
    assert table.to_native(name) is None
    assert table.to_foreign(name) is None


def test_text_and_compact_models_have_no_foreign_name() -> None:
    with torch.device("meta"):
        text = Sam(with_text(MODELS["toy"], 8)).state_dict()
    assert [name for name in text if OFFICIAL.to_foreign(name) is None] == [
        "prompt_encoder.text_projection.weight",
        "prompt_encoder.text_projection.bias",
    ]
    compact = native_names("compact")
    assert OFFICIAL.to_foreign(next(name for name in compact if "trunk" in name)) is None


def test_naming_is_told_by_the_first_layer() -> None:
    assert detect_naming(native_names("toy")) == "native"
    assert detect_naming(native_names("compact")) == "native"
    assert detect_naming(filter(None, map(OFFICIAL.to_foreign, native_names("toy")))) == "official"
    assert (
        detect_naming(filter(None, map(HUGGINGFACE.to_foreign, native_names("toy"))))
        == "huggingface"
    )
    assert detect_naming(["conv1.weight", "fc.bias"]) is None


def test_our_own_naming_needs_no_table() -> None:
    assert table_of("native") is None
    assert table_of("official") is OFFICIAL
    assert table_of("huggingface") is HUGGINGFACE
