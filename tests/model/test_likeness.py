"""Maps of nearness and likeness: a scene of two plain halves, where everything can be said by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segloop.model.likeness import NUM_CLICK_MAPS, NUM_GROUPS, SPREADS, ClickMaps, RegionMaps

SIZE, STRIDE, WIDTH = 16, 8, 16
LEFT, RIGHT = 0, 1
BACKGROUND, FOREGROUND, PADDING = 0, 1, -1


def halves() -> Tensor:
    """Features (1, C, G, G): one direction on the left, one at a right angle to it on the right, in every group."""
    features = torch.zeros(1, WIDTH, SIZE, SIZE)
    features[:, 0::4, :, : SIZE // 2] = 3.0
    features[:, 1::4, :, SIZE // 2 :] = 0.5
    return features


def click_maps(*clicks: tuple[float, float, int]) -> Tensor:
    """(2, K, G, G): background maps, then foreground maps, of clicks x, y in cells and their label."""
    coords = torch.tensor([[(x * STRIDE - 0.5, y * STRIDE - 0.5) for x, y, _ in clicks]])
    labels = torch.tensor([[label for _, _, label in clicks]])
    with torch.no_grad():
        maps = ClickMaps(WIDTH)(halves(), coords.reshape(1, -1, 2), labels.reshape(1, -1), STRIDE)
    assert maps.shape == (1, 2 * NUM_CLICK_MAPS, SIZE * SIZE)
    return maps[0].reshape(2, NUM_CLICK_MAPS, SIZE, SIZE)


def test_nearness_falls_off_as_a_gaussian_from_the_clicks_own_cell() -> None:
    near = click_maps((4.5, 6.5, FOREGROUND))[FOREGROUND, : len(SPREADS)]
    for spread, seen in zip(SPREADS, near, strict=True):
        y, x = np.mgrid[:SIZE, :SIZE]
        expected = np.exp(-((x - 4) ** 2 + (y - 6) ** 2) / (2 * spread**2))
        np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_likeness_is_that_of_the_half_that_was_clicked() -> None:
    for x, here in ((3.5, LEFT), (12.5, RIGHT)):
        maps = click_maps((x, 8.5, FOREGROUND))[FOREGROUND]
        alike = maps[len(SPREADS) : len(SPREADS) + NUM_GROUPS]
        own, other = alike[..., : SIZE // 2], alike[..., SIZE // 2 :]
        if here == RIGHT:
            own, other = other, own
        torch.testing.assert_close(own, torch.ones_like(own))
        torch.testing.assert_close(other, torch.full_like(other, float(np.exp(-4.0))))


def test_the_last_maps_are_likeness_that_fades_with_distance() -> None:
    maps = click_maps((3.5, 8.5, FOREGROUND))[FOREGROUND]
    alike, faded = maps[len(SPREADS) :].split(NUM_GROUPS)
    torch.testing.assert_close(faded, alike * maps[len(SPREADS) - 1])


def test_kinds_have_maps_of_their_own_and_padding_has_none() -> None:
    both = click_maps((3.5, 8.5, FOREGROUND), (12.5, 2.5, BACKGROUND), (0.0, 0.0, PADDING))
    torch.testing.assert_close(both[FOREGROUND], click_maps((3.5, 8.5, FOREGROUND))[FOREGROUND])
    torch.testing.assert_close(both[BACKGROUND], click_maps((12.5, 2.5, BACKGROUND))[BACKGROUND])
    assert not click_maps((3.5, 8.5, FOREGROUND))[BACKGROUND].any()
    assert not click_maps((0.0, 0.0, PADDING)).any()
    assert not click_maps((4.0, 4.0, 2), (9.0, 9.0, 3)).any()


def test_of_several_clicks_the_nearest_and_most_alike_counts() -> None:
    first, second = (3.5, 8.5, FOREGROUND), (12.5, 2.5, FOREGROUND)
    together = click_maps(first, second)
    torch.testing.assert_close(together, torch.maximum(click_maps(first), click_maps(second)))


def test_without_any_token_all_maps_are_zero() -> None:
    assert not click_maps().any()


def test_each_prompt_looks_into_its_own_image() -> None:
    features = torch.cat([halves(), halves().flip(-1)])
    coords = torch.tensor([[[28.0, 68.0]], [[28.0, 68.0]]])
    labels = torch.ones(2, 1, dtype=torch.int64)
    module = ClickMaps(WIDTH)
    with torch.no_grad():
        together = module(features, coords, labels, STRIDE)
        for row in range(2):
            alone = module(features[row : row + 1], coords[row : row + 1], labels[:1], STRIDE)
            torch.testing.assert_close(together[row : row + 1], alone)


def test_a_region_is_like_itself_and_the_rest_like_the_rest() -> None:
    mask_logits = torch.full((1, 1, 4 * SIZE, 4 * SIZE), -20.0)
    mask_logits[..., : 2 * SIZE] = 20.0
    with torch.no_grad():
        maps = RegionMaps(WIDTH)(halves(), mask_logits)
    assert maps.shape == (1, 2 * NUM_GROUPS, SIZE * SIZE)
    seen = maps[0].reshape(NUM_GROUPS, 2, SIZE, SIZE)
    far = float(np.exp(-4.0))
    for kind, half in ((0, LEFT), (1, RIGHT)):
        expected = torch.full((NUM_GROUPS, SIZE, SIZE), far)
        expected[..., half * SIZE // 2 : (half + 1) * SIZE // 2] = 1.0
        torch.testing.assert_close(seen[:, kind], expected)


def test_the_share_of_a_cell_that_a_region_covers_counts() -> None:
    """A cell of the right half, a quarter covered, pulls the mean of the region a little to that side."""
    mask_logits = torch.full((1, 1, 4 * SIZE, 4 * SIZE), -20.0)
    mask_logits[..., :4, :4] = 20.0
    mask_logits[..., :2, -2:] = 20.0
    with torch.no_grad():
        seen = RegionMaps(WIDTH)(halves(), mask_logits)[0, 0].reshape(SIZE, SIZE)
    angle = np.arctan2(0.25, 1.0)
    np.testing.assert_allclose(seen[0, 0], np.exp(4.0 * (np.cos(angle) - 1.0)), rtol=1e-4)
    np.testing.assert_allclose(seen[0, -1], np.exp(4.0 * (np.sin(angle) - 1.0)), rtol=1e-4)
