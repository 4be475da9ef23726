"""A CLIP image model of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from segloop.errors import InputError
from segloop.text.clip_images import ClipImageVectors

SIDE, PATCH, WIDTH = 32, 8, 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=WIDTH,
        image_size=SIDE,
        patch_size=PATCH,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def crops_of(seed: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def test_under_a_whole_mask_vectors_are_those_of_transformers(clip: Path) -> None:
    source = ClipImageVectors(str(clip))
    assert (source.width, source.side) == (WIDTH, SIDE)
    crops = crops_of(0)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    with torch.inference_mode():
        model = CLIPVisionModelWithProjection.from_pretrained(clip).eval()
        expected = F.normalize(model(pixel_values=(crops - mean) / std).image_embeds, dim=-1)
    found = source.vectors(crops, torch.ones(2, SIDE, SIDE, dtype=torch.bool))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))


def test_the_output_token_looks_where_the_mask_touches_a_patch(clip: Path) -> None:
    """By hand: the last layer, with the keys that the token must not see taken away."""
    source = ClipImageVectors(str(clip))
    crops, mask = crops_of(1, 1), torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[0, 3, 9] = mask[0, 30, 30] = True  # patches 1 and 15
    found = source.vectors(crops, mask)

    model = CLIPVisionModelWithProjection.from_pretrained(clip).eval()
    vision = model.vision_model
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    with torch.inference_mode():
        first, last = vision.encoder.layers
        hidden = vision.pre_layrnorm(vision.embeddings((crops - mean) / std))
        hidden = first(hidden, None)
        kept = last(hidden[:, [0, 2, 16]], None)[:, 0]
        expected = F.normalize(model.visual_projection(vision.post_layernorm(kept)), dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    everywhere = source.vectors(crops, torch.ones_like(mask))
    assert (found - everywhere).abs().max() > 1e-3


def test_a_mask_of_nothing_still_gives_a_direction(clip: Path) -> None:
    found = ClipImageVectors(str(clip)).vectors(crops_of(2), torch.zeros(2, SIDE, SIDE))
    assert found.isfinite().all()


def test_the_model_is_left_as_it_was(clip: Path) -> None:
    source = ClipImageVectors(str(clip))
    whole = torch.ones(2, SIDE, SIDE)
    before = source.vectors(crops_of(3), whole)
    source.vectors(crops_of(3), torch.zeros(2, SIDE, SIDE))
    assert torch.equal(source.vectors(crops_of(3), whole), before)
    assert not before.requires_grad


def test_what_is_no_clip_is_one_line(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        ClipImageVectors(str(tmp_path / "nothing"))
    assert "\n" not in str(caught.value)
    assert ClipImageVectors(str(clip)).identity == ClipImageVectors(str(clip)).identity
