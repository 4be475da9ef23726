from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segloop.backends.torch import TorchBackend
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.evaluate.detections import TruthBoxes
from segloop.evaluate.instance_report import write_instances
from segloop.evaluate.instances import InstancesProtocol, evaluate_instances
from segloop.evaluate.points import PointsProtocol, evaluate_points
from segloop.evaluate.report import write_points
from segloop.evaluate.runs import Run, RunScore, read_run
from segloop.evaluate.sheet import choose_objects, draw_sheets
from segloop.geometry.rle import encode_rle
from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.predict.predictor import Predictor

SIZE_HW = (60, 90)


@dataclass(frozen=True)
class Drawn:
    """A dataset in memory; `masks` of each image."""

    masks: Sequence[Sequence[np.ndarray]]
    name: str = "drawn"

    @property
    def sample_names(self) -> tuple[str, ...]:
        return tuple(f"image{index}" for index in range(len(self.masks)))

    def __len__(self) -> int:
        return len(self.masks)

    def read(self, index: int) -> Sample:
        annotations = tuple(
            Annotation(encode_rle(mask), float(mask.sum()), (0.0, 0.0, 1.0, 1.0), number, "thing")
            for number, mask in enumerate(self.masks[index])
        )
        image = np.full((*SIZE_HW, 3), 90 + 30 * index, dtype=np.uint8)
        return Sample(self.sample_names[index], image, annotations)


def square(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE_HW, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def dataset() -> Drawn:
    """Three images of two objects each."""
    shifts = (0, 8, 16)
    return Drawn([[square(5 + x, 5, 35 + x, 40), square(50, 10 + x, 80, 25 + x)] for x in shifts])


@pytest.fixture
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(TorchBackend(Sam(MODELS["toy"]), "toy", "identity of toy"))


@pytest.fixture(params=["center", "random"])
def points_run(dataset: Drawn, predictor: Predictor, tmp_path: Path, request) -> Run:
    protocol = PointsProtocol(clicks=(1,), max_clicks=1, seed=5, first_click=request.param)
    result = evaluate_points(lambda: predictor, dataset, name=dataset.name, protocol=protocol)
    return read_run(write_points(tmp_path / "scores", [result], model="toy.pt").parent)


def loader(
    predictor: Predictor, names: list[str | None]
) -> Callable[[str | None, bool], Predictor]:
    def load(name: str | None, closer: bool) -> Predictor:
        names.append(name)
        return predictor

    return load


def score(image: str, value: float, annotation: int = 0) -> RunScore:
    key = (("image", image), ("annotation_id", annotation))
    return RunScore(key, "drawn", image, {"1 click": value}, None, None, annotation)


def test_the_best_the_median_and_the_worst_are_of_different_images() -> None:
    scores = [score(f"{n // 2}", n / 40, n) for n in range(40)]
    best, median, worst = choose_objects(scores, "1 click", 3)
    assert [one.annotation_id for one in best.scores] == [39, 37, 35]
    assert [one.annotation_id for one in worst.scores] == [0, 2, 4]
    assert [one.annotation_id for one in median.scores] == [19, 20, 17]
    assert (best.title, median.title, worst.title) == ("best", "median", "worst")


def test_few_objects_are_of_one_kind_each() -> None:
    alone = [score("a", n / 10, n) for n in range(7)]
    kinds = choose_objects(alone, "1 click", 3)
    assert [[one.annotation_id for one in kind.scores] for kind in kinds] == [
        [6, 5],
        [3, 2],
        [0, 1],
    ]
    assert [len(kind.scores) for kind in choose_objects(alone[:1], "1 click")] == [1, 1, 1]
    assert choose_objects(alone, "box") == ()
    assert choose_objects([], "1 click") == ()


def test_a_sheet_shows_what_was_scored(
    points_run: Run, dataset: Drawn, predictor: Predictor
) -> None:
    names: list[str | None] = []
    (sheet,) = draw_sheets([points_run], [dataset], loader(predictor, names))
    assert names == ["toy.pt"]
    assert sheet.title == "Best, median and worst: drawn"
    assert "1 click, 2 each" in sheet.caption
    picture = np.asarray(Image.open(io.BytesIO(sheet.png)).convert("RGB")).astype(int)
    # Three pairs of panels of 176 pixels, with 6 between and around them, and 18 between the pairs.
    assert picture.shape[1] == 3 * (2 * 176 + 6) + 2 * 18 + 2 * 6
    greenish = picture[..., 1] - np.maximum(picture[..., 0], picture[..., 2]) > 20
    for column in range(3):
        left = 6 + column * (2 * 176 + 6 + 18)
        # The click, and the truth.
        assert 30 < greenish[:, left : left + 176].sum() < 2000
        assert greenish[:, left + 182 : left + 358].sum() > 2000
    (again,) = draw_sheets([points_run], [dataset], loader(predictor, []))
    assert again.png == sheet.png


def test_what_is_drawn_is_the_mask_that_was_scored(
    points_run: Run, dataset: Drawn, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import segloop.evaluate.sheet as sheet

    captions: list[str] = []
    write = sheet.View.draw

    def draw(view, mask, caption, **prompt):
        captions.append(caption)
        return write(view, mask, caption, **prompt)

    monkeypatch.setattr(sheet.View, "draw", draw)
    draw_sheets([points_run], [dataset], loader(predictor, []))
    by_value = sorted((one.values["1 click"] for one in points_run.scores), reverse=True)
    assert captions[0] == f"IoU {by_value[0]:.2f}"
    assert captions[1::2] == ["thing"] * 6
    assert not any("scored" in caption for caption in captions)


def test_instances_are_drawn_from_their_boxes(
    dataset: Drawn, predictor: Predictor, tmp_path: Path
) -> None:
    protocol = InstancesProtocol(noise=(0.0, 0.2))
    result = evaluate_instances(
        lambda: predictor, dataset, TruthBoxes(), name="drawn", protocol=protocol
    )
    run = read_run(write_instances(tmp_path, [result], "truth", model="toy.pt").parent)
    (sheet,) = draw_sheets([run], [dataset], loader(predictor, []))
    assert "By IoU fed back, 2 each" in sheet.caption
    only_noise = replace(run, scores=tuple(one for one in run.scores if "noise" in str(one.values)))
    with pytest.raises(InputError, match="has no object of drawn with IoU fed back"):
        draw_sheets([only_noise], [dataset], loader(predictor, []))


def test_two_runs_have_a_sheet_each(points_run: Run, dataset: Drawn, predictor: Predictor) -> None:
    names: list[str | None] = []
    other = replace(points_run, label="other", report={**points_run.report, "settings": {}})
    sheets = draw_sheets([points_run, other], [dataset], loader(predictor, names))
    assert [one.title for one in sheets] == [
        "Best, median and worst: drawn, scores",
        "Best, median and worst: drawn, other",
    ]
    assert names == ["toy.pt", None]


def test_another_model_is_refused(points_run: Run, dataset: Drawn, predictor: Predictor) -> None:
    torch.manual_seed(1)
    other = Predictor(TorchBackend(Sam(MODELS["toy"]), "toy", "identity of another"))
    with pytest.raises(InputError, match=r"scored with model identity of toy, this one .* --model"):
        draw_sheets([points_run], [dataset], loader(other, []))


def test_other_data_are_refused(points_run: Run, dataset: Drawn, predictor: Predictor) -> None:
    moved = [[mask | square(0, 0, 1, 1) for mask in masks] for masks in dataset.masks]
    for changed in (replace(dataset, masks=moved), Drawn(dataset.masks[:1])):
        with pytest.raises(InputError, match="drawn is not as it was scored: scores has another"):
            draw_sheets([points_run], [changed], loader(predictor, []))
    with pytest.raises(InputError, match="no run has scored else: scores has drawn"):
        draw_sheets([points_run], [replace(dataset, name="else")], loader(predictor, []))
    edges = replace(points_run, task="edges")
    with pytest.raises(InputError, match="not of edges: leave out --data"):
        draw_sheets([edges], [dataset], loader(predictor, []))
