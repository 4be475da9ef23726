"""Everything in an image: a backend that sees known discs, and a table of what must be left of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from segloop.backends.base import DRAW_ALL, Backend, BackendSpec, drawn_outputs
from segloop.data.transforms import prepare_input
from segloop.errors import ImageError, InputError
from segloop.export.onnx import ExportReport
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import FloatArray, Frame
from segloop.geometry.grids import Crop
from segloop.geometry.masks import mask_iou
from segloop.predict.automatic import (
    PRESETS,
    AutomaticConfig,
    crop_points,
    generate,
    suited_config,
)
from segloop.predict.predictor import Predictor, load
from segloop.prompts.prompt import PackedPrompts, Prompt

IMAGE_HW = (160, 200)


@dataclass(frozen=True)
class Disc:
    """What a click inside finds; at blur pixels from the border the logits are +1 and -1."""

    name: str
    x: float
    y: float
    radius: float
    score: float = 0.95
    blur: float = 0.02


def ruler(image_hw: tuple[int, int] = IMAGE_HW) -> np.ndarray:
    """An image whose red is x and whose green is y, so that a crop of it says where it was taken."""
    y, x = np.mgrid[: image_hw[0], : image_hw[1]]
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)


class Discs(Backend):
    """Answers a click with the discs around it, smallest first; a missing output has predicted IoU 0."""

    spec = BackendSpec("discs", "d", 256, 128, 1, 32)

    def __init__(self, *discs: Disc) -> None:
        self.discs = discs
        self.drawn: list[tuple[int, ...]] = []

    def encode(self, image_chw: FloatArray) -> FloatArray:
        mean, spread = np.array([123.675, 116.28]), np.array([58.395, 57.12])
        colors = image_chw[:2].transpose(1, 2, 0) * spread + mean
        # Origin and scale of the crop, from the part of the input that is surely not padding.
        pixels = np.arange(2, 190)
        slopes = [
            np.polyfit(pixels, values, 1) for values in (colors[2, pixels, 0], colors[pixels, 2, 1])
        ]
        return np.array(slopes, dtype=np.float32).T[::-1]

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        origin, scale = features
        pixels = np.mgrid[:128, :128].astype(np.float32) * 2 + 0.5
        x, y = origin[0] + scale[0] * pixels[1], origin[1] + scale[1] * pixels[0]
        logits = np.full((len(prompts), 4, 128, 128), -20.0, dtype=np.float32)
        scores = np.zeros((len(prompts), 4), dtype=np.float32)
        for row, place in enumerate(origin + scale * prompts.coords[:, 0]):
            around = [
                disc for disc in self.discs if np.hypot(*(place - (disc.x, disc.y))) < disc.radius
            ]
            for output, disc in enumerate(
                sorted(around, key=lambda disc: disc.radius)[:3], start=1
            ):
                distance = disc.radius - np.hypot(x - disc.x, y - disc.y)
                logits[row, output] = np.clip(distance / disc.blur, -20, 20)
                scores[row, output] = disc.score
        drawn = drawn_outputs(scores, floors)
        self.drawn.append(tuple(drawn[1].tolist()))
        return logits[drawn], scores


def at(*discs: Disc) -> tuple[tuple[float, float], ...]:
    return tuple((disc.x, disc.y) for disc in discs)


def names_of(masks: EncodedMasks, discs: Iterable[Disc]) -> list[tuple[str, int]]:
    """Which disc each mask is, and the number of pixels across its crop."""
    found = []
    for row in range(len(masks)):
        x0, y0, x1, y1 = masks.boxes_xyxy[row]
        disc = min(
            discs,
            key=lambda one: (
                abs(one.x - (x0 + x1) / 2)
                + abs(one.y - (y0 + y1) / 2)
                + abs(one.radius - (x1 - x0) / 2)
            ),
        )
        crop = masks.crop_boxes_xyxy[row]
        found.append((disc.name, int(crop[2] - crop[0])))
    return found


PLAIN = (
    Disc("good", 50, 50, 20),
    Disc("its double", 51, 50, 20, score=0.90),
    Disc("badly predicted", 150, 50, 20, score=0.88),
    Disc("unstable", 150, 110, 20, blur=2.0),
    Disc("just stable", 100, 80, 20, blur=0.2),
    Disc("small", 20, 130, 6),
)


def test_each_filter_drops_what_the_table_says() -> None:
    """good and its double answer each other's click: six clicks find eight masks."""
    config = AutomaticConfig(points_xy=at(*PLAIN))
    generation = generate(Predictor(Discs(*PLAIN)), ruler(), config)
    assert sorted(names_of(generation.masks, PLAIN)) == [
        ("good", 200),
        ("just stable", 200),
        ("small", 200),
    ]
    assert [(one.name, one.before, one.after) for one in generation.counts] == [
        ("predicted IoU", 18, 7),
        ("stability", 7, 6),
        ("crop edge", 6, 6),
        ("duplicate boxes", 6, 3),
    ]


def test_masks_are_the_discs_and_their_columns_say_where_they_come_from() -> None:
    small, large = Disc("small", 60, 60, 15, score=0.9), Disc("large", 70, 60, 40, score=0.97)
    config = AutomaticConfig(points_xy=((100.0, 60.0), (60.0, 60.0)))
    masks = generate(Predictor(Discs(small, large)), ruler(), config).masks
    assert masks.predicted_iou.tolist() == pytest.approx([0.97, 0.9])
    y, x = np.mgrid[: IMAGE_HW[0], : IMAGE_HW[1]]
    for row, disc in enumerate((large, small)):
        disc_pixels = np.hypot(x - disc.x, y - disc.y) < disc.radius
        assert mask_iou(masks.mask(row), disc_pixels) > 0.96
        assert masks.areas[row] == np.count_nonzero(masks.mask(row))
    assert masks.prompt_index.tolist() == [0, 1]
    assert masks.output_index.tolist() == [1, 1]
    assert masks.points_xy.tolist() == [[100, 60], [60, 60]]


def test_what_is_predicted_badly_is_never_drawn() -> None:
    backend = Discs(*PLAIN)
    generate(Predictor(backend), ruler(), AutomaticConfig(points_xy=at(*PLAIN), batch_size=6))
    assert len(backend.drawn) == 1
    assert len(backend.drawn[0]) == 7


def test_a_threshold_of_zero_keeps_every_output_but_the_single_one() -> None:
    backend = Discs(*PLAIN)
    config = AutomaticConfig(points_xy=at(*PLAIN), predicted_iou_threshold=0.0)
    generation = generate(Predictor(backend), ruler(), config)
    assert generation.counts[0].after == 18
    assert {output for drawn in backend.drawn for output in drawn} == {1, 2, 3}


CROPPED = (
    Disc("in one crop", 40, 40, 12),
    Disc("cut by every crop", 100, 80, 15),
    Disc("at the image's border", 185, 145, 14),
)


def test_crops_keep_what_they_do_not_cut_off_and_the_most_zoomed_in_wins() -> None:
    """Crops of 127 x 107, columns from 0 and 73, rows from 0 and 53."""
    config = AutomaticConfig(points_xy=at(*CROPPED), crop_layers=1)
    generation = generate(Predictor(Discs(*CROPPED)), ruler(), config)
    assert sorted(names_of(generation.masks, CROPPED)) == [
        ("at the image's border", 127),
        ("cut by every crop", 200),
        ("in one crop", 127),
    ]
    counts = {one.name: (one.before, one.after) for one in generation.counts}
    assert counts["crop edge"] == (3 + 1 + 1 + 4, 3 + 1 + 1)
    assert counts["duplicates across crops"] == (5, 3)


def test_masks_of_crops_lie_where_those_of_the_image_do() -> None:
    disc = CROPPED[2]
    image = ruler()
    masks = {
        layers: generate(
            Predictor(Discs(disc)), image, AutomaticConfig(points_xy=at(disc), crop_layers=layers)
        ).masks
        for layers in (0, 1)
    }
    assert masks[1].crop_boxes_xyxy.tolist() == [[73, 53, 200, 160]]
    assert mask_iou(masks[0].mask(0), masks[1].mask(0)) > 0.95


def test_a_region_stands_for_the_image() -> None:
    discs = (Disc("inside", 60, 60, 12), Disc("outside", 150, 60, 12), Disc("cut", 100, 60, 12))
    config = AutomaticConfig(region_xyxy=(10.2, 10.0, 105.0, 120.0), points_per_side=16)
    generation = generate(Predictor(Discs(*discs)), ruler(), config)
    assert names_of(generation.masks, discs) == [("inside", 95)]
    points = generation.masks.points_xy
    assert (points >= 10).all()
    assert (points[:, 0] < 105).all()


def test_coverage_counts_where_it_is_asked_for() -> None:
    disc = Disc("all", 100, 80, 500)
    for share, kept in ((1.0, 1), (0.95, 0)):
        config = AutomaticConfig(points_xy=at(disc), max_coverage=share)
        assert len(generate(Predictor(Discs(disc)), ruler(), config).masks) == kept


def test_small_masks_stay_with_the_released_rule_and_go_with_the_papers() -> None:
    discs = (Disc("large", 60, 60, 20), Disc("small", 150, 100, 4))
    for drops_small, names in ((False, ["large", "small"]), (True, ["large"])):
        config = AutomaticConfig(points_xy=at(*discs), min_region_px=100, drops_small=drops_small)
        masks = generate(Predictor(Discs(*discs)), ruler(), config).masks
        assert sorted(name for name, _ in names_of(masks, discs)) == names


def test_masks_can_be_told_apart_by_their_pixels_at_last() -> None:
    """Boxes of IoU .61, masks of IoU .59: both stay by their boxes."""
    discs = (Disc("first", 60, 60, 20), Disc("second", 68, 62, 20, score=0.9))
    for threshold, kept in ((None, 2), (0.55, 1), (0.65, 2)):
        config = AutomaticConfig(points_xy=at(*discs), mask_nms_threshold=threshold)
        masks = generate(Predictor(Discs(*discs)), ruler(), config).masks
        assert len(masks) == kept


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_size_of_batches_changes_nothing(batch_size: int) -> None:
    config = AutomaticConfig(points_per_side=8)
    expected = generate(Predictor(Discs(*PLAIN)), ruler(), config)
    other = generate(Predictor(Discs(*PLAIN)), ruler(), replace(config, batch_size=batch_size))
    assert same(expected.masks, other.masks)
    assert expected.counts == other.counts


def test_progress_counts_the_points_of_all_crops() -> None:
    seen: list[tuple[int, int]] = []
    config = AutomaticConfig(
        points_per_side=4, crop_layers=1, crop_points_downscale=2, batch_size=3
    )
    generate(
        Predictor(Discs()), ruler(), config, progress=lambda done, total: seen.append((done, total))
    )
    assert {total for _, total in seen} == {16 + 4 * 4}
    assert [done for done, _ in seen] == [3, 6, 9, 12, 15, 16, 19, 20, 23, 24, 27, 28, 31, 32]


def test_points_of_a_crop_are_its_cells_centres() -> None:
    points = crop_points(Crop((10, 20, 50, 40), 1), AutomaticConfig(2), (100, 100))
    assert points.tolist() == [[20, 25], [40, 25], [20, 35], [40, 35]]


def same(first: EncodedMasks, second: EncodedMasks) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in vars(first))


@pytest.fixture(scope="module")
def toy(toy_export: ExportReport) -> Predictor:
    return load(toy_export.folder, threads=1)


ALL = AutomaticConfig(points_per_side=5, predicted_iou_threshold=-9.0, stability_threshold=0.0)


def picture(image_hw: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (*image_hw, 3)).astype(np.uint8)


def test_masks_are_those_of_the_predictor(toy: Predictor) -> None:
    image = picture((90, 61))
    masks = generate(toy, image, replace(ALL, box_nms_threshold=1.0)).masks
    assert len(masks) == 75
    embedding = toy.encode(image)
    for row in range(0, 75, 7):
        answer = toy.segment(embedding, Prompt([masks.points_xy[row]]), outputs="three")
        output = int(masks.output_index[row]) - 1
        np.testing.assert_array_equal(masks.mask(row), answer.masks[output])
        assert masks.stability_score[row] == answer.stability_score[output]
        assert masks.predicted_iou[row] == pytest.approx(answer.predicted_iou[output], abs=1e-5)
        np.testing.assert_array_equal(masks.boxes_xyxy[row], answer.boxes_xyxy[output])


def test_two_runs_agree_to_the_byte(toy: Predictor) -> None:
    config = replace(ALL, crop_layers=1, min_region_px=20)
    first, second = (generate(toy, picture((70, 120)), config) for _ in range(2))
    assert len(first.masks)
    assert same(first.masks, second.masks)
    assert first.counts == second.counts


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 40), (3000, 20), (20, 3000)], ids=str)
def test_images_of_every_shape(image_hw: tuple[int, int], toy: Predictor) -> None:
    masks = generate(toy, picture(image_hw), replace(ALL, crop_layers=1)).masks
    assert masks.image_hw == image_hw
    for row in range(len(masks)):
        assert masks.mask(row).shape == image_hw


def test_an_image_without_pixels_is_refused(toy: Predictor, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    with pytest.raises(ImageError):
        generate(toy, empty)
    with pytest.raises(InputError):
        generate(toy, np.zeros((0, 5, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"points_xy": ((5.0, 5.0), (61.0, 5.0))}, "point 61,5 lies outside"),
        ({"points_xy": ((-0.5, 5.0),)}, "point -0.5,5 lies outside"),
        ({"region_xyxy": (70.0, 0.0, 90.0, 10.0)}, "holds nothing of the image"),
        ({"region_xyxy": (20.0, 30.0, 10.0, 40.0)}, "holds nothing of the image"),
    ],
)
def test_what_lies_outside_the_image_is_refused(
    change: dict[str, object], complaint: str, toy: Predictor
) -> None:
    with pytest.raises(InputError, match=complaint):
        generate(toy, picture((90, 61)), replace(ALL, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"points_per_side": 0}, "points_per_side is at least 1"),
        ({"batch_size": 0}, "batch_size is at least 1"),
        ({"crop_layers": -1}, "crop_layers is at least 0"),
        ({"stability_threshold": 1.5}, "stability_threshold is from 0 to 1"),
        ({"box_nms_threshold": -0.1}, "box_nms_threshold is from 0 to 1"),
        ({"crop_overlap": float("nan")}, "crop_overlap is from 0 to 1"),
        ({"points_per_side": 3, "crop_layers": 2, "crop_points_downscale": 2}, "3 points per side"),
    ],
)
def test_settings_without_sense_are_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        AutomaticConfig(**change)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_presets_are_the_released_defaults_and_the_papers_settings() -> None:
    default, paper = PRESETS["default"], PRESETS["sa1b"]
    assert default == AutomaticConfig()
    changed = {name for name, value in asdict(paper).items() if value != asdict(default)[name]}
    assert changed == {
        "crop_layers",
        "crop_points_downscale",
        "min_region_px",
        "max_coverage",
        "drops_small",
    }
    sides = [paper.points_per_side // paper.crop_points_downscale**layer for layer in range(3)]
    assert sides == [32, 16, 8]
    assert (paper.min_region_px, paper.max_coverage, paper.drops_small) == (100, 0.95, True)


def test_a_model_brings_its_own_thresholds() -> None:
    released = BackendSpec("vit_b", "", 1024, 256, 256, 64)
    modest = replace(released, automatic_thresholds=(0.5, 0.75))
    suited = suited_config(released)
    assert (suited.predicted_iou_threshold, suited.stability_threshold) == (0.88, 0.95)
    assert suited_config(modest, "sa1b") == replace(
        PRESETS["sa1b"], predicted_iou_threshold=0.5, stability_threshold=0.75
    )
    with pytest.raises(InputError, match="no preset 'best'; there are default, sa1b"):
        suited_config(released, "best")


def test_without_settings_those_that_suit_the_model_hold() -> None:
    """The clicks of the grid find the badly predicted and the unstable disc too."""
    backend = Discs(*PLAIN)
    assert len(generate(Predictor(backend), ruler()).masks) == 3
    backend.spec = replace(Discs.spec, automatic_thresholds=(0.87, 0.5))
    assert len(generate(Predictor(backend), ruler()).masks) == 5
    strict = AutomaticConfig(stability_threshold=0.95)
    assert len(generate(Predictor(backend), ruler(), strict).masks) == 4


def test_the_ruler_tells_the_backend_where_a_crop_lies() -> None:
    """The fake itself: without this nothing above would mean anything."""
    crop = ruler()[53:160, 73:200]
    frame = Frame(crop.shape[:2], 256, 128)
    origin, scale = Discs().encode(prepare_input(crop, frame))
    corners = origin + scale * frame.points_to_input([[0.0, 0.0], [126.0, 106.0]])
    np.testing.assert_allclose(corners, [[73, 53], [199, 159]], atol=0.5)
