from __future__ import annotations

import pytest
import torch

from segloop.model.prompt_encoder import PositionCode, PromptEncoder

SIZE = 64
FEATURES = torch.zeros(1, 16, 4, 4)


@pytest.fixture
def encoder() -> PromptEncoder:
    torch.manual_seed(0)
    return PromptEncoder(16, (4, 8)).eval()


def tokens(encoder: PromptEncoder, xy: list[float], label: int) -> torch.Tensor:
    with torch.no_grad():
        return encoder.encode_points(torch.tensor([[xy]]), torch.tensor([[label]]), SIZE)[0, 0]


def test_the_matrix_is_saved_but_never_trained() -> None:
    code = PositionCode(16)
    assert list(code.state_dict()) == ["matrix"]
    assert code.matrix.shape == (2, 8)
    assert not list(code.parameters())


def test_the_middle_of_the_image_has_no_angle() -> None:
    code = PositionCode(16)(torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(code, torch.cat([torch.zeros(8), torch.ones(8)]))


def test_a_quarter_turn_comes_from_frequency_and_place() -> None:
    code = PositionCode(4)
    code.matrix.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    # x = 5/8 is 1/4 on the scale of -1 to 1: a quarter turn for the first frequency; y is in the middle.
    torch.testing.assert_close(
        code(torch.tensor([0.625, 0.5])), torch.tensor([1.0, 0.0, 0.0, 1.0]), atol=1e-6, rtol=0
    )


def test_a_pixel_is_coded_at_its_centre(encoder: PromptEncoder) -> None:
    middle = [SIZE / 2 - 0.5, SIZE / 2 - 0.5]
    expected = torch.cat([torch.zeros(8), torch.ones(8)]) + encoder.label_vectors[1].weight[0]
    torch.testing.assert_close(tokens(encoder, middle, 1), expected.detach())


def test_grid_codes_are_those_of_points_at_cell_centres(encoder: PromptEncoder) -> None:
    grid = encoder.position_code.grid(4)
    stride = SIZE / 4
    for row, column in ((0, 0), (0, 3), (2, 1)):
        xy = [(column + 0.5) * stride - 0.5, (row + 0.5) * stride - 0.5]
        point = tokens(encoder, xy, 0) - encoder.label_vectors[0].weight[0]
        torch.testing.assert_close(grid[0, row * 4 + column], point.detach(), atol=1e-5, rtol=1e-5)


def test_every_kind_of_point_has_its_own_vector(encoder: PromptEncoder) -> None:
    place = [10.0, 20.0]
    code = encoder.position_code((torch.tensor(place) + 0.5) / SIZE)
    for label, vector in enumerate(encoder.label_vectors):
        torch.testing.assert_close(
            tokens(encoder, place, label), (code + vector.weight[0]).detach()
        )


def test_padding_has_no_place(encoder: PromptEncoder) -> None:
    here, there = tokens(encoder, [0.0, 0.0], -1), tokens(encoder, [40.0, 9.0], -1)
    torch.testing.assert_close(here, encoder.padding_vector.weight[0].detach())
    torch.testing.assert_close(there, here)


def test_without_a_mask_one_vector_stands_everywhere(encoder: PromptEncoder) -> None:
    dense = encoder.encode_masks(FEATURES, None, None)
    assert dense.shape == (1, 1, 16)
    torch.testing.assert_close(dense[0, 0], encoder.no_mask_vector.weight[0])


def test_has_mask_chooses_row_by_row(encoder: PromptEncoder) -> None:
    masks = torch.randn(2, 1, 16, 16)
    both = encoder.encode_masks(FEATURES, masks, None)
    chosen = encoder.encode_masks(FEATURES, masks, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(chosen[0], both[0])
    torch.testing.assert_close(chosen[1], encoder.no_mask_vector.weight.expand(16, 16))


def test_a_cell_of_the_dense_embedding_sees_its_sixteen_logits_only(encoder: PromptEncoder) -> None:
    empty = torch.zeros(1, 1, 16, 16)
    marked = empty.clone()
    marked[0, 0, 7, 13] = 5.0
    before, after = (encoder.encode_masks(FEATURES, masks, None) for masks in (empty, marked))
    change = (after - before).abs().sum(-1)
    assert change.nonzero().tolist() == [[0, (7 // 4) * 4 + 13 // 4]]


def test_text_needs_a_projection(encoder: PromptEncoder) -> None:
    with pytest.raises(ValueError, match="without a text projection"):
        encoder.encode_text(torch.zeros(1, 8))
    assert not [name for name in encoder.state_dict() if "text" in name]


def test_text_becomes_one_token() -> None:
    encoder = PromptEncoder(16, (4, 8), text_width=8)
    text = torch.randn(3, 8)
    assert encoder.text_projection is not None
    torch.testing.assert_close(encoder.encode_text(text), encoder.text_projection(text)[:, None])


# --- painted maps ---


def test_clicks_are_painted_with_the_vectors_of_their_maps() -> None:
    encoder = PromptEncoder(16, (2, 4), likeness_maps=True)
    assert encoder.click_maps is not None
    features = torch.randn(1, 16, 4, 4)
    coords, labels = torch.rand(2, 3, 2) * 32, torch.tensor([[1, 0, -1], [2, 3, -1]])
    painted = encoder.encode_clicks(features, coords, labels, stride=8)
    assert painted is not None
    maps = encoder.click_maps(features, coords, labels, 8)
    expected = torch.einsum("nkp,kd->npd", maps, encoder.click_maps.vectors.weight)
    torch.testing.assert_close(painted.spread(), expected)
    assert painted.spread()[0].any()
    assert not painted.spread()[1].any()


def test_a_mask_brings_its_maps_along_where_there_is_one() -> None:
    encoder = PromptEncoder(16, (2, 4), likeness_maps=True)
    assert encoder.region_maps is not None
    features, masks = torch.randn(1, 16, 4, 4), torch.randn(2, 1, 16, 16)
    dense = encoder.encode_masks(features, masks, torch.tensor([0.0, 1.0]))
    plain = encoder.mask_layers(masks).flatten(2).transpose(1, 2)
    maps = encoder.region_maps(features, masks)
    painted = torch.einsum("nkp,kd->npd", maps, encoder.region_maps.vectors.weight)
    torch.testing.assert_close(dense[0], encoder.no_mask_vector.weight.expand(16, 16))
    torch.testing.assert_close(dense[1], (plain + painted)[1])


def test_a_model_without_likeness_maps_paints_nothing(encoder: PromptEncoder) -> None:
    coords, labels = torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.long)
    assert encoder.encode_clicks(FEATURES, coords, labels, stride=8) is None
    masks = torch.randn(1, 1, 16, 16)
    first, second = (
        encoder.encode_masks(features, masks, None) for features in (FEATURES, FEATURES + 1)
    )
    torch.testing.assert_close(first, second)
