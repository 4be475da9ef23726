from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from segloop.model.compact_encoder import CompactEncoder
from segloop.model.config import MODELS, ModelConfig, with_text
from segloop.model.image_encoder import ImageEncoder
from segloop.model.sam import Sam, build_image_encoder

COMPACT = replace(MODELS["compact"], input_size=64)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def toy() -> Sam:
    return Sam(MODELS["toy"]).eval()


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(1, 32, 8, 8)


COORDS = torch.tensor(
    [[[10.0, 20.0], [40.0, 30.0]], [[5.0, 5.0], [0.0, 0.0]], [[1.0, 2.0], [60.0, 50.0]]]
)
LABELS = torch.tensor([[1, 0], [1, -1], [2, 3]])


def assert_same(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_configuration_names_the_encoder() -> None:
    assert isinstance(build_image_encoder(MODELS["toy"]), ImageEncoder)
    assert isinstance(build_image_encoder(COMPACT), CompactEncoder)


@pytest.mark.parametrize(
    "config", [MODELS["toy"], MODELS["tiny"], COMPACT], ids=["toy", "tiny", "compact"]
)
def test_shapes_follow_the_configuration(config: ModelConfig) -> None:
    model = Sam(config).eval()
    with torch.inference_mode():
        features = model.encode(torch.randn(1, 3, config.input_size, config.input_size))
        logits, iou = model.decode(features, COORDS, LABELS)
    grid, side = config.grid_size, config.logit_size
    assert features.shape == (1, config.width, grid, grid)
    assert logits.shape == (3, 4, side, side)
    assert iou.shape == (3, 4)


def test_prompts_do_not_see_each_other(toy: Sam, features: torch.Tensor) -> None:
    masks, has_mask = torch.randn(3, 1, 32, 32), torch.tensor([1.0, 0.0, 1.0])
    together = toy.decode(features, COORDS, LABELS, masks, has_mask)
    rows = [
        toy.decode(
            features, COORDS[i : i + 1], LABELS[i : i + 1], masks[i : i + 1], has_mask[i : i + 1]
        )
        for i in range(3)
    ]
    assert_same(together, tuple(torch.cat(column) for column in zip(*rows, strict=True)))


def test_prompts_may_each_have_their_own_image(toy: Sam) -> None:
    features = torch.randn(3, 32, 8, 8)
    together = toy.decode(features, COORDS, LABELS)
    rows = [toy.decode(features[i : i + 1], COORDS[i : i + 1], LABELS[i : i + 1]) for i in range(3)]
    assert_same(together, tuple(torch.cat(column) for column in zip(*rows, strict=True)))


def test_order_of_points_does_not_matter(toy: Sam, features: torch.Tensor) -> None:
    assert_same(
        toy.decode(features, COORDS.flip(1), LABELS.flip(1)), toy.decode(features, COORDS, LABELS)
    )


def test_label_and_place_of_a_point_matter(toy: Sam, features: torch.Tensor) -> None:
    expected, _ = toy.decode(features, COORDS[:1], LABELS[:1])
    turned, _ = toy.decode(features, COORDS[:1], 1 - LABELS[:1])
    moved, _ = toy.decode(features, COORDS[:1] + 20.0, LABELS[:1])
    assert not torch.allclose(turned, expected, atol=1e-3)
    assert not torch.allclose(moved, expected, atol=1e-3)


def test_padding_is_a_token_without_a_place(toy: Sam, features: torch.Tensor) -> None:
    point, label = torch.tensor([[[10.0, 20.0]]]), torch.tensor([[1]])
    bare, _ = toy.decode(features, point, label)
    padded, padded_elsewhere = (
        toy.decode(
            features, torch.cat([point, torch.full((1, 1, 2), at)], 1), torch.tensor([[1, -1]])
        )[0]
        for at in (0.0, 33.0)
    )
    torch.testing.assert_close(padded, padded_elsewhere)
    assert not torch.allclose(padded, bare, atol=1e-4), (
        "padding is seen by the decoder, so it is no mere filler"
    )


def test_an_ignored_mask_is_no_mask(toy: Sam, features: torch.Tensor) -> None:
    masks = torch.randn(3, 1, 32, 32)
    ignored = toy.decode(features, COORDS, LABELS, masks, torch.zeros(3))
    assert_same(ignored, toy.decode(features, COORDS, LABELS))
    seen, _ = toy.decode(features, COORDS, LABELS, masks, torch.ones(3))
    assert not torch.allclose(seen, ignored[0], atol=1e-3)


def test_a_text_vector_is_one_more_token(features: torch.Tensor) -> None:
    model = Sam(with_text(MODELS["toy"], 24)).eval()
    text = torch.randn(3, 24)
    logits, _ = model.decode(features, COORDS, LABELS, text=text)
    other, _ = model.decode(features, COORDS, LABELS, text=-text)
    assert not torch.allclose(logits, other, atol=1e-3)
    alone, iou = model.decode(features, COORDS[:, :0], LABELS[:, :0], text=text)
    assert alone.shape == (3, 4, 32, 32)
    assert iou.shape == (3, 4)


def test_a_model_without_text_refuses_it(toy: Sam, features: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="without a text projection"):
        toy.decode(features, COORDS, LABELS, text=torch.randn(3, 24))


@pytest.mark.parametrize("config", [MODELS["toy"], COMPACT], ids=["vit", "compact"])
def test_gradients_reach_every_parameter(config: ModelConfig) -> None:
    model = Sam(with_text(config, 24)).train()
    side = config.logit_size
    features = model.encode(torch.randn(2, 3, config.input_size, config.input_size)).repeat(
        2, 1, 1, 1
    )
    coords = torch.rand(4, 5, 2) * config.input_size
    labels = torch.tensor([-1, 0, 1, 2, 3]).expand(4, -1)
    has_mask = torch.tensor([1.0, 0.0, 1.0, 0.0])
    logits, iou = model.decode(
        features, coords, labels, torch.randn(4, 1, side, side), has_mask, torch.randn(4, 24)
    )
    ((logits * torch.randn_like(logits)).mean() + (iou * torch.randn_like(iou)).mean()).backward()
    for name, parameter in model.named_parameters():
        # A bias on keys moves all scores of a query alike and drops out of the softmax.
        if name.endswith("k_proj.bias"):
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_first_output_does_not_depend_on_the_others_being_asked(
    toy: Sam, features: torch.Tensor
) -> None:
    """Token 0 alone draws output 0: with its head silenced only that output vanishes."""
    with torch.no_grad():
        last = toy.mask_decoder.mask_heads[0].layers[-1]
        last.weight.zero_()
        last.bias.zero_()
        logits, _ = toy.decode(features, COORDS, LABELS)
    assert not logits[:, 0].any()
    assert logits[:, 1:].flatten(2).any(-1).all()


@pytest.mark.parametrize("likeness_maps", [True, False])
def test_projecting_the_image_once_for_all_prompts_is_exact(likeness_maps: bool) -> None:
    torch.manual_seed(0)
    model = Sam(replace(MODELS["toy"], likeness_maps=likeness_maps)).eval()
    features, coords = torch.randn(1, 32, 8, 8), torch.rand(5, 2, 2) * 64
    labels = torch.tensor([[1, 0]] * 5)
    with torch.no_grad():
        shared = model.attend(features, coords, labels, is_shared=True)
        folded = model.attend(features, coords, labels, is_shared=False)
        chosen = model.attend(features, coords, labels)
    for one, other, third in zip(shared, folded, chosen, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        assert torch.equal(one, third), "five prompts are enough for sharing to pay"


def test_the_compact_model_keeps_its_budget() -> None:
    """Six billion multiplications an image, a fifth of one for a click; a mask prompt costs a little more."""
    model = Sam(MODELS["compact"]).eval()

    def operations(run: Callable[[], object]) -> float:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops() / 2e9

    assert operations(lambda: model.encode(torch.zeros(1, 3, 512, 512))) == pytest.approx(
        2.79, abs=0.01
    )
    features, coords = torch.zeros(1, 128, 64, 64), torch.full((1, 2, 2), 200.0)
    click, box = torch.tensor([[1, -1]]), torch.tensor([[2, 3]])
    assert operations(lambda: model.decode(features, coords, click)) == pytest.approx(
        0.197, abs=0.001
    )
    rectangle = torch.zeros(1, 1, 256, 256)
    with_mask = operations(lambda: model.decode(features, coords, box, rectangle, torch.ones(1)))
    assert with_mask == pytest.approx(0.214, abs=0.001)
