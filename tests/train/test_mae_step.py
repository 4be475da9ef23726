from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segloop.data.folder import find_images
from segloop.errors import InputError
from segloop.model.mae import MaskedAutoencoder, mae_config, patch_targets, to_patches
from segloop.train.mae_step import MaeBatch, MaeImages, mae_step, random_crop


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def images_of(folder: Path, seed: int = 0) -> MaeImages:
    return MaeImages(find_images([folder]).images, input_size=32, patch_size=8, seed=seed)


def test_every_round_shows_every_image_once(photos: Path) -> None:
    images = images_of(photos)
    rounds = [[images.item(5 * turn + at).name for at in range(5)] for turn in range(2)]
    assert sorted(rounds[0]) == sorted(rounds[1]) == [f"{number}.png" for number in range(5)]
    assert rounds[0] != rounds[1]


def test_an_item_hangs_on_seed_and_number_alone(photos: Path) -> None:
    one, again = images_of(photos).item(7), images_of(photos).item(7)
    np.testing.assert_array_equal(one.image, again.image)
    np.testing.assert_array_equal(one.order, again.order)
    assert not np.array_equal(one.order, images_of(photos, seed=1).item(7).order)
    assert sorted(one.order) == list(range(16))


def test_three_quarters_are_hidden(photos: Path) -> None:
    images = images_of(photos)
    batch = images.collate([images.item(0), images.item(1)])
    assert (batch.visible.shape, batch.hidden.shape) == ((2, 4), (2, 12))
    assert (batch.count, batch.num_images) == (2, 2)
    assert batch.images.shape == (2, 3, 32, 32)
    whole = torch.cat([batch.visible, batch.hidden], dim=1).sort(dim=1).values
    assert torch.equal(whole, torch.arange(16).expand(2, -1))


class Knowing(MaskedAutoencoder):
    """Predicts hidden patches perfectly, and visible ones not at all."""

    def forward(self, images: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        targets = patch_targets(to_patches(images, 8))
        return targets.scatter(1, visible[..., None].expand(-1, -1, targets.shape[2]), 100.0)


def test_only_hidden_patches_count() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 64)
    order = torch.stack([torch.randperm(64), torch.randperm(64)])
    batch = MaeBatch(images, order[:, :16], order[:, 16:])
    assert mae_step(Knowing(mae_config("toy", 64)), batch, 0).loss.item() == 0.0

    class Silent(MaskedAutoencoder):
        def forward(self, images: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(to_patches(images, 8))

    # Normalised numbers are of variance 1: saying nothing costs about 1 an image, and the loss is the sum.
    assert mae_step(Silent(mae_config("toy", 64)), batch, 0).loss.item() == pytest.approx(
        2, abs=0.05
    )


def test_a_crop_keeps_to_its_share_of_the_image() -> None:
    ramp = np.tile(np.arange(200, dtype=np.uint8), (100, 1))[..., None].repeat(3, axis=2)
    spans = []
    for seed in range(40):
        crop = random_crop(ramp, 32, 0.2, np.random.default_rng(seed))
        assert crop.shape == (32, 32, 3)
        spans.append((int(crop[..., 0].max()) - int(crop[..., 0].min())) / 200)
    # A fifth of the area at 3:4 is over a quarter of the width of an image twice as wide as high.
    assert min(spans) > 0.2
    assert max(spans) < 0.72
    strip = np.zeros((4, 400, 3), dtype=np.uint8)
    strip[:, 197:203] = 255
    middle = random_crop(strip, 16, 0.9, np.random.default_rng(0))
    assert middle.mean() > 200


def test_an_image_that_cannot_be_read_is_named(photos: Path) -> None:
    (photos / "0.png").write_bytes(b"no picture")
    images = images_of(photos)
    with pytest.raises(InputError, match=r"0\.png"):
        [images.item(number) for number in range(5)]
