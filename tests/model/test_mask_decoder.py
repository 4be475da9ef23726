from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from segloop.model.config import DecoderConfig
from segloop.model.layers import Attention, Blur
from segloop.model.mask_decoder import (
    MaskDecoder,
    TwoWayLayer,
    Upscale,
    look_at_image,
    look_at_tokens,
    unfold_cells,
)

WIDTH, GRID = 32, 4
CONFIG = DecoderConfig(2, 2, 64, 16, (8, 4), 32)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def decoder() -> MaskDecoder:
    return MaskDecoder(WIDTH, CONFIG).eval()


def inputs(
    num_prompts: int = 2, num_tokens: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    image, places = torch.randn(1, GRID * GRID, WIDTH), torch.randn(1, GRID * GRID, WIDTH)
    return image, places, torch.randn(num_prompts, num_tokens, WIDTH)


def test_four_masks_and_four_raw_scores(decoder: MaskDecoder) -> None:
    with torch.no_grad():
        decoder.iou_head.layers[-1].bias += 3.0
        logits, iou = decoder(*inputs())
    assert logits.shape == (2, 4, 4 * GRID, 4 * GRID)
    assert iou.shape == (2, 4)
    assert (iou > 1.0).all(), "nothing may bound the predicted IoU"


def test_masks_may_be_blurred(decoder: MaskDecoder) -> None:
    smooth = MaskDecoder(WIDTH, replace(CONFIG, blur=1.0)).eval()
    smooth.load_state_dict(decoder.state_dict())
    given, floors = inputs(), torch.tensor([-torch.inf, torch.inf, -torch.inf, torch.inf])
    with torch.no_grad():
        plain, blurred = (one(*given)[0] for one in (decoder, smooth))
        expected = Blur(1.0)(plain.flatten(0, 1)).unflatten(0, plain.shape[:2])
        torch.testing.assert_close(blurred, expected)
        assert not torch.allclose(blurred, plain)
        torch.testing.assert_close(
            smooth(*given, floors=floors)[0], expected[:, [0, 2]].flatten(0, 1)
        )


def test_each_head_draws_its_own_output(decoder: MaskDecoder) -> None:
    given = inputs()
    with torch.no_grad():
        before, scores = decoder(*given)
        for index, head in enumerate(decoder.mask_heads):
            head.layers[-1].bias += 1.0
            after, same_scores = decoder(*given)
            changed = (after != before).flatten(2).any(-1).all(0)
            assert changed.tolist() == [other == index for other in range(4)]
            torch.testing.assert_close(same_scores, scores)
            before = after


def test_order_of_prompt_tokens_does_not_matter(decoder: MaskDecoder) -> None:
    image, places, tokens = inputs(num_tokens=4)
    expected = decoder(image, places, tokens)
    shuffled = decoder(image, places, tokens[:, [2, 0, 3, 1]])
    torch.testing.assert_close(shuffled, expected, atol=1e-5, rtol=1e-5)


def test_an_image_of_their_own_gives_prompts_the_same_answer(decoder: MaskDecoder) -> None:
    image, places, tokens = inputs()
    shared = decoder(image, places, tokens)
    own = decoder(image.expand(2, -1, -1), places, tokens)
    torch.testing.assert_close(own, shared, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("is_first", [True, False])
def test_only_the_first_self_attention_replaces_the_tokens(is_first: bool) -> None:
    layer = TwoWayLayer(WIDTH, CONFIG, is_first)
    nn.init.zeros_(layer.self_attention.out_proj.weight)  # it now says the same whatever it sees
    image, places, tokens = inputs()
    prompt = torch.zeros_like(tokens)
    one, _ = layer(tokens, image, prompt, places)
    other, _ = layer(tokens + torch.randn_like(tokens), image, prompt, places)
    assert torch.allclose(one, other) == is_first


def test_places_reach_keys_but_not_values() -> None:
    layer = TwoWayLayer(WIDTH, CONFIG, is_first=False)
    nn.init.zeros_(layer.token_to_image.q_proj.weight)
    nn.init.zeros_(layer.token_to_image.q_proj.bias)  # equal weights: only values matter
    image, places, tokens = inputs()
    prompt = torch.randn_like(tokens)
    one, _ = layer(tokens, image, prompt, places)
    other, _ = layer(tokens, image, prompt, places + 1.0)
    torch.testing.assert_close(one, other)


def test_upscale_is_the_transposed_convolution() -> None:
    convolution = nn.ConvTranspose2d(6, 5, 2, stride=2)
    upscale = Upscale(6, 5)
    upscale.load_state_dict(convolution.state_dict())
    image = torch.randn(2, 6, 3, 3)
    pixels = upscale(image.permute(0, 2, 3, 1)).reshape(2, 3, 3, 2, 2, 5)
    laid_out = pixels.permute(0, 5, 1, 3, 2, 4).reshape(2, 5, 6, 6)
    torch.testing.assert_close(laid_out, convolution(image))


def test_unfold_cells_puts_every_pixel_in_its_place() -> None:
    size = 4 * GRID
    image = torch.arange(size * size).reshape(1, 1, size, size)
    cells = [
        image[0, 0, 4 * row + 2 * y1 + y2, 4 * column + 2 * x1 + x2]
        for row in range(GRID)
        for column in range(GRID)
        for y1 in range(2)
        for x1 in range(2)
        for y2 in range(2)
        for x2 in range(2)
    ]
    assert torch.equal(unfold_cells(torch.stack(cells)[None, None]), image)


@pytest.mark.parametrize("num_tokens", [2, 8, 9, 40])
def test_either_form_of_attention_gives_the_same(num_tokens: int) -> None:
    attention = Attention(WIDTH, 16, 2).double()
    tokens = torch.randn(3, num_tokens, WIDTH).double()
    image = torch.randn(1, GRID * GRID, WIDTH).double()
    to_image = look_at_image(attention, tokens, image, image)
    torch.testing.assert_close(to_image, attention(tokens, image, image))
    to_tokens = look_at_tokens(attention, image, tokens, tokens)
    torch.testing.assert_close(to_tokens, attention(image, tokens, tokens))


def test_each_size_of_the_configuration_is_used() -> None:
    decoder = MaskDecoder(48, DecoderConfig(4, 3, 80, 24, (16, 8), 40, iou_depth=4))
    assert len(decoder.layers) == 3
    assert decoder.layers[0].mlp.layers[0].out_features == 80
    assert decoder.final_attention.q_proj.out_features == 24
    assert decoder.upscale1.weight.shape[:2] == (48, 16)
    assert decoder.upscale2.weight.shape[:2] == (16, 8)
    assert [layer.out_features for layer in decoder.iou_head.layers] == [40, 40, 40, 4]
    logits, iou = decoder(torch.randn(1, 9, 48), torch.randn(1, 9, 48), torch.randn(2, 1, 48))
    assert logits.shape == (2, 4, 12, 12)
    assert iou.shape == (2, 4)


def test_dropout_works_in_training_alone() -> None:
    torch.manual_seed(0)
    decoder = MaskDecoder(32, DecoderConfig(2, 2, 64, 16, (8, 4), 32))
    decoder.set_dropout(0.5)
    image, places, tokens = torch.randn(1, 64, 32), torch.randn(1, 64, 32), torch.randn(1, 3, 32)
    decoder.train()
    assert not torch.equal(decoder(image, places, tokens)[0], decoder(image, places, tokens)[0])
    decoder.eval()
    still = decoder(image, places, tokens)[0]
    decoder.set_dropout(0.0)
    torch.testing.assert_close(decoder.train()(image, places, tokens)[0], still)
