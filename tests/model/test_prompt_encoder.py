from __future__ import annotations

import math

import pytest
import torch

from segloop.model.prompt_encoder import CLICK_SPREAD, PositionCode, PromptEncoder

SIZE = 64


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
    dense = encoder.encode_masks(None, None)
    assert dense.shape == (1, 1, 16)
    torch.testing.assert_close(dense[0, 0], encoder.no_mask_vector.weight[0])


def test_has_mask_chooses_row_by_row(encoder: PromptEncoder) -> None:
    masks = torch.randn(2, 1, 16, 16)
    both = encoder.encode_masks(masks, None)
    chosen = encoder.encode_masks(masks, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(chosen[0], both[0])
    torch.testing.assert_close(chosen[1], encoder.no_mask_vector.weight.expand(16, 16))


def test_a_cell_of_the_dense_embedding_sees_its_sixteen_logits_only(encoder: PromptEncoder) -> None:
    empty = torch.zeros(1, 1, 16, 16)
    marked = empty.clone()
    marked[0, 0, 7, 13] = 5.0
    change = (encoder.encode_masks(marked, None) - encoder.encode_masks(empty, None)).abs().sum(-1)
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


# --- painted clicks ---


def test_a_click_is_painted_around_its_place_with_the_vector_of_its_kind() -> None:
    encoder = PromptEncoder(16, (2, 4), click_maps=True)
    assert encoder.click_vectors is not None
    background, foreground = encoder.click_vectors.weight
    # Pixel (19.5, 3.5) is the centre of column 2, row 0 of cells of 8 pixels.
    coords = torch.tensor([[[19.5, 3.5], [3.5, 27.5], [0.0, 0.0]]])
    painted = encoder.encode_clicks(coords, torch.tensor([[1, 0, -1]]), grid_size=4, stride=8)
    assert painted is not None
    cells = painted.spread()[0].unflatten(0, (4, 4))
    far = math.exp(-(2**2 + 3**2) / (2 * CLICK_SPREAD**2))
    torch.testing.assert_close(cells[0, 2], foreground + far * background)
    torch.testing.assert_close(cells[3, 0], background + far * foreground)
    one_away = math.exp(-1 / (2 * CLICK_SPREAD**2))
    beside = math.exp(-(3**2 + 3**2) / (2 * CLICK_SPREAD**2))
    torch.testing.assert_close(cells[0, 3], one_away * foreground + beside * background)


def test_padding_and_boxes_are_not_painted() -> None:
    encoder = PromptEncoder(16, (2, 4), click_maps=True)
    coords = torch.tensor([[[4.0, 4.0], [20.0, 20.0], [0.0, 0.0]]])
    painted = encoder.encode_clicks(coords, torch.tensor([[2, 3, -1]]), grid_size=4, stride=8)
    assert painted is not None
    assert not painted.spread().any()


def test_a_model_without_click_maps_paints_nothing() -> None:
    encoder = PromptEncoder(16, (2, 4))
    coords, labels = torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.long)
    assert encoder.encode_clicks(coords, labels, grid_size=4, stride=8) is None
