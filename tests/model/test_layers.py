from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from segloop.model.layers import MLP, Attention, Blur, LayerNorm2d, Paint, softmax_over_rows


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_layer_norm_is_over_channels_at_each_place() -> None:
    norm = LayerNorm2d(6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, 3, 5) * 7.0
    mean = x.mean(dim=1, keepdim=True)
    variance = x.var(dim=1, keepdim=True, correction=0)
    expected = (x - mean) / (variance + 1e-6).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_layer_norm_epsilon_is_small_enough_for_faint_features() -> None:
    x = torch.tensor([1e-3, -1e-3]).reshape(1, 2, 1, 1)
    expected = 1e-3 / (1e-6 + 1e-6) ** 0.5
    torch.testing.assert_close(LayerNorm2d(2)(x)[0, 0, 0, 0].item(), expected)


def test_mlp_has_relu_between_layers_and_none_at_the_end() -> None:
    mlp = MLP(4, 8, 3)
    x = torch.randn(50, 4)
    first, last = mlp.layers
    torch.testing.assert_close(mlp(x), last(first(x).clamp(min=0)))
    assert (mlp(x) < 0).any()


def test_attention_is_the_textbook_one() -> None:
    ours, textbook = Attention(16, 16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)
    with torch.no_grad():
        textbook.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        textbook.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        textbook.out_proj.weight.copy_(ours.out_proj.weight)
        textbook.out_proj.bias.copy_(ours.out_proj.bias)
    q, k, v = torch.randn(3, 5, 16), torch.randn(3, 9, 16), torch.randn(3, 9, 16)
    torch.testing.assert_close(ours(q, k, v), textbook(q, k, v)[0])


def test_scale_is_that_of_the_narrow_heads() -> None:
    assert Attention(256, 128, 8).scale == 0.25


@pytest.mark.parametrize("num_images", [1, 3])
def test_folded_attention_to_the_image_is_exact(num_images: int) -> None:
    attention = Attention(32, 16, 2).double()
    tokens = torch.randn(3, 7, 32).double()
    keys = torch.randn(num_images, 40, 32).double()
    values = torch.randn(num_images, 40, 32).double()
    folded = attention.tokens_to_image(tokens, keys, values)
    torch.testing.assert_close(folded, attention(tokens, keys, values))


@pytest.mark.parametrize("num_images", [1, 3])
def test_folded_attention_from_the_image_is_exact(num_images: int) -> None:
    attention = Attention(32, 16, 2).double()
    queries = torch.randn(num_images, 40, 32).double()
    keys, values = torch.randn(3, 7, 32).double(), torch.randn(3, 7, 32).double()
    folded = attention.image_to_tokens(queries, keys, values)
    torch.testing.assert_close(folded, attention(queries, keys, values))


@pytest.mark.parametrize("is_painted", [True, False])
def test_attention_with_a_shared_image_is_exact(is_painted: bool) -> None:
    attention = Attention(32, 16, 2).double()
    tokens, token_values = torch.randn(3, 7, 32).double(), torch.randn(3, 7, 32).double()
    placed, image = torch.randn(1, 40, 32).double(), torch.randn(1, 40, 32).double()
    paint = Paint(torch.rand(3, 2, 40).double(), torch.randn(2, 32).double())
    added = paint.spread() if is_painted else torch.zeros(3, 40, 32).double()
    given = paint if is_painted else None
    torch.testing.assert_close(
        attention.tokens_to_shared(tokens, placed, image, given),
        attention(tokens, placed + added, image + added),
    )
    torch.testing.assert_close(
        attention.shared_to_tokens(placed, tokens, token_values, given),
        attention(placed + added, tokens, token_values) + added,
    )


def test_softmax_over_rows_bears_large_logits() -> None:
    logits = torch.randn(2, 3, 5) * 100.0
    torch.testing.assert_close(softmax_over_rows(logits), torch.softmax(logits, dim=1))


def test_folding_keeps_gradients() -> None:
    attention = Attention(32, 16, 2).double()
    tokens, image = torch.randn(3, 7, 32).double(), torch.randn(1, 40, 32).double()

    def gradients(output: torch.Tensor) -> list[torch.Tensor]:
        parameters = [p for name, p in attention.named_parameters() if name != "k_proj.bias"]
        return list(torch.autograd.grad(output.square().sum(), parameters))

    for folded, plain in (
        (attention.tokens_to_image(tokens, image, image), attention(tokens, image, image)),
        (attention.image_to_tokens(image, tokens, tokens), attention(image, tokens, tokens)),
    ):
        torch.testing.assert_close(gradients(folded), gradients(plain))


def test_blur_is_a_gaussian_with_repeated_edges() -> None:
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 20, 31)).astype(np.float32))
    expected = gaussian_filter(images.numpy(), 1.0, axes=(1, 2), mode="nearest", truncate=2.0)
    np.testing.assert_allclose(Blur(1.0)(images).numpy(), expected, atol=1e-5)
    assert Blur(1.0)(images[:0]).shape == (0, 20, 31)
