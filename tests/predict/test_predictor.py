"""Images and prompts in, masks out: which masks, in which order, in which frame."""

from __future__ import annotations

import builtins
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segloop.backends.base import DRAW_ALL, Backend, BackendSpec, Embedding, drawn_outputs
from segloop.backends.onnx import OnnxBackend
from segloop.backends.torch import TorchBackend
from segloop.errors import ImageError, InputError, WeightsError
from segloop.export.onnx import ExportReport
from segloop.export.parity import draw_image
from segloop.geometry.frames import FloatArray
from segloop.geometry.masks import mask_iou, stability_score
from segloop.model.sam import Sam
from segloop.predict import predictor as module
from segloop.predict.automatic import AutomaticConfig, generate
from segloop.predict.predictor import Outputs, Predictor, load
from segloop.prompts.prompt import PackedPrompts, Prompt
from segloop.weights.load import save_sam

POINT = Prompt([(30, 20)])
POINTS = Prompt([(30, 20), (50, 40)], [1, 0])
BOX = Prompt(box_xyxy=(5, 6, 60, 50))


def rough_mask() -> np.ndarray:
    mask = np.zeros((70, 90), dtype=bool)
    mask[20:50, 30:70] = True
    return mask


MIXED = [
    POINT,
    BOX,
    POINTS,
    Prompt(mask=rough_mask()),
    Prompt([(80, 60)]),
    Prompt(box_xyxy=(0, 0, 90, 70)),
]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.asarray(Image.fromarray(draw_image(120, np.random.default_rng(0))).resize((90, 70)))


@pytest.fixture(scope="module")
def predictor(toy_export: ExportReport) -> Predictor:
    return Predictor(OnnxBackend(toy_export.folder, threads=1))


@pytest.fixture(scope="module")
def embedding(predictor: Predictor, image: np.ndarray) -> Embedding:
    return predictor.encode(image)


@dataclass(frozen=True)
class Stripes(Backend):
    """A backend with known answers: output k of a prompt at x is a stripe of k + 1 columns from there on.

    The predicted IoU of the outputs 0 to 3 is 0.9, 0.2, 0.4, 0.3.
    """

    spec = BackendSpec("stripes", "s", 64, 16, 1, 4)

    def encode(self, image_chw: FloatArray) -> FloatArray:
        return np.zeros((1, 4, 4), dtype=np.float32)

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        logits = np.full((len(prompts), 4, 16, 16), -5.0, dtype=np.float32)
        for row, coords in enumerate(prompts.coords):
            start = int(coords[0, 0] // 4)
            for output in range(4):
                logits[row, output, :, start : start + output + 1] = 5.0
        predicted_iou = np.tile(np.array([0.9, 0.2, 0.4, 0.3], dtype=np.float32), (len(prompts), 1))
        return logits[drawn_outputs(predicted_iou, floors)], predicted_iou


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("auto", [(0, 1), (0, 2), (0, 3), (1, 0), (2, 0)]),
        ("single", [(0, 0), (1, 0), (2, 0)]),
        ("three", [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]),
        ("best", [(0, 2), (1, 0), (2, 0)]),
    ],
)
def test_which_masks_answer_and_in_which_order(
    outputs: Outputs, expected: list[tuple[int, int]]
) -> None:
    striped = Predictor(Stripes())
    encoded = striped.encode(np.zeros((64, 64, 3), dtype=np.uint8))
    # Three kinds of prompt, packed in another order than they are given.
    prompts = [Prompt([(8, 9)]), Prompt([(20, 9), (1, 1)]), Prompt(box_xyxy=(40, 1, 60, 9))]
    batch = striped.segment(encoded, prompts, outputs=outputs)
    found = list(zip(batch.prompt_index.tolist(), batch.output_index.tolist(), strict=True))
    assert found == expected
    scores = np.array([0.9, 0.2, 0.4, 0.3], dtype=np.float32)
    np.testing.assert_array_equal(batch.predicted_iou, scores[batch.output_index])
    for mask, (prompt, output) in zip(batch.masks, expected, strict=True):
        columns = np.flatnonzero(mask.all(axis=0))
        start = (8, 20, 40)[prompt]
        assert columns.tolist() == list(range(start, start + 4 * (output + 1)))


def test_every_column_has_its_kind_and_frame(predictor: Predictor, embedding: Embedding) -> None:
    batch = predictor.segment(embedding, MIXED)
    assert batch.masks.shape == (10, 70, 90)
    assert batch.masks.dtype == np.bool_
    assert batch.logits.shape == (10, 32, 32)
    assert (
        batch.predicted_iou.dtype == batch.stability_score.dtype == batch.logits.dtype == np.float32
    )
    assert batch.prompt_index.tolist() == [0, 0, 0, 1, 2, 3, 4, 4, 4, 5]


def test_masks_and_stability_come_from_logits_in_the_image_frame(
    predictor: Predictor, embedding: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_PIXELS", 2 * 70 * 90)
    batch = predictor.segment(embedding, MIXED)
    full = embedding.frame.logits_to_image(batch.logits)
    np.testing.assert_array_equal(batch.masks, full > 0)
    np.testing.assert_array_equal(batch.stability_score, stability_score(full))


@pytest.mark.parametrize("outputs", ["auto", "single", "three", "best"])
def test_prompts_together_are_as_one_by_one(
    outputs: Outputs, predictor: Predictor, embedding: Embedding
) -> None:
    together = predictor.segment(embedding, MIXED, outputs=outputs, batch_size=2)
    for index, prompt in enumerate(MIXED):
        alone = predictor.segment(embedding, prompt, outputs=outputs)
        same = together.select(together.prompt_index == index)
        assert same.output_index.tolist() == alone.output_index.tolist()
        np.testing.assert_allclose(same.logits, alone.logits, atol=1e-4)
        np.testing.assert_allclose(same.predicted_iou, alone.predicted_iou, atol=1e-4)


def test_no_prompt_gives_no_mask(predictor: Predictor, embedding: Embedding) -> None:
    batch = predictor.segment(embedding, [])
    assert len(batch) == 0
    assert batch.masks.shape == (0, 70, 90)
    assert batch.logits.shape == (0, 32, 32)


def test_both_runtimes_give_the_same_masks(
    predictor: Predictor, toy_model: Sam, image: np.ndarray
) -> None:
    other = Predictor(TorchBackend(toy_model, "toy", "x"))
    first = predictor.segment(predictor.encode(image), MIXED, outputs="three")
    second = other.segment(other.encode(image), MIXED, outputs="three")
    np.testing.assert_allclose(first.logits, second.logits, atol=1e-4)
    assert mask_iou(first.masks, second.masks).min() > 0.99
    np.testing.assert_allclose(first.predicted_iou, second.predicted_iou, atol=1e-4)


def test_an_answer_can_be_the_next_prompt(predictor: Predictor, embedding: Embedding) -> None:
    first = predictor.segment(embedding, POINT, outputs="best")
    again = Prompt([(30, 20)], logits=first.logits[0])
    second = predictor.segment(embedding, again)
    assert second.output_index.tolist() == [0]
    without = predictor.segment(embedding, POINT, outputs="single")
    assert np.abs(second.logits - without.logits).max() > 1e-3


def test_a_mask_alone_is_prompt_enough(predictor: Predictor, embedding: Embedding) -> None:
    batch = predictor.segment(embedding, Prompt(mask=rough_mask()))
    assert len(batch) == 1
    box = predictor.segment(embedding, Prompt(box_xyxy=(30, 20, 70, 50)))
    assert np.abs(batch.logits - box.logits).max() > 1e-3


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 900), (900, 1), (7, 300)])
def test_any_shape_of_image(image_hw: tuple[int, int], predictor: Predictor) -> None:
    height, width = image_hw
    encoded = predictor.encode(np.full((height, width, 3), 128, dtype=np.uint8))
    batch = predictor.segment(encoded, Prompt([(width / 2, height / 2)]))
    assert batch.masks.shape == (3, height, width)


def test_the_image_limit_is_the_callers(predictor: Predictor, image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="more than the limit of 100"):
        predictor.encode(image, max_pixels=100)


def test_an_embedding_from_a_file_serves_as_well(
    predictor: Predictor, embedding: Embedding, tmp_path: Path
) -> None:
    embedding.save(tmp_path / "photo.npz")
    batch = predictor.segment(Embedding.load(tmp_path / "photo.npz"), MIXED)
    np.testing.assert_array_equal(batch.masks, predictor.segment(embedding, MIXED).masks)


@pytest.mark.parametrize("broken_part", ["logits", "predicted_iou"])
def test_numbers_of_damaged_weights_are_no_answer(
    broken_part: str, predictor: Predictor, embedding: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = OnnxBackend.decode

    def broken(*args: Any) -> tuple[np.ndarray, np.ndarray]:
        logits, predicted_iou = decode(*args)
        (logits if broken_part == "logits" else predicted_iou)[-1, 0] = np.nan
        return logits, predicted_iou

    monkeypatch.setattr(OnnxBackend, "decode", broken)
    with pytest.raises(WeightsError, match="its weights are damaged"):
        predictor.segment(embedding, POINT)
    everything = AutomaticConfig(points_per_side=2, predicted_iou_threshold=0.0)
    with pytest.raises(WeightsError, match="its weights are damaged"):
        generate(predictor, np.zeros((60, 90, 3), dtype=np.uint8), everything)


def test_threads_share_one_predictor(predictor: Predictor) -> None:
    images = [draw_image(90 + 10 * seed, np.random.default_rng(seed)) for seed in range(4)]

    def run(picture: np.ndarray) -> np.ndarray:
        return predictor.segment(predictor.encode(picture), [POINT, BOX]).masks

    alone = [run(picture) for picture in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, images * 5))
    for index, masks in enumerate(together):
        np.testing.assert_array_equal(masks, alone[index % 4])


def test_an_embedding_of_another_model_is_refused(
    predictor: Predictor, embedding: Embedding
) -> None:
    with pytest.raises(InputError, match="encode the image again"):
        predictor.segment(replace(embedding, model="another"), POINT)


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        (Prompt([(91, 3)]), {}, "outside the image of 90 x 70"),
        ([POINT, Prompt([(3, 71)])], {}, "outside"),
        (Prompt(mask=np.ones((90, 70), dtype=bool)), {}, "mask is"),
        (Prompt(text=np.ones(8, dtype=np.float32)), {}, "takes no text"),
        (POINT, {"outputs": "all"}, "one of auto, single, three, best"),
        (POINT, {"batch_size": 0}, "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    prompts: Any, options: dict, message: str, predictor: Predictor, embedding: Embedding
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        predictor.segment(embedding, prompts, **options)
    assert "\n" not in str(caught.value)


def test_a_text_vector_of_another_length_is_refused() -> None:
    backend = Stripes()
    object.__setattr__(backend, "spec", replace(Stripes.spec, text_width=5))
    striped = Predictor(backend)
    encoded = striped.encode(np.zeros((64, 64, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="has 5 numbers"):
        striped.segment(encoded, Prompt([(1, 1)], text=np.ones(8, dtype=np.float32)))


class Echo(Stripes):
    """Answers with the mask it was given, and with nothing where there was none."""

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        shape = (len(prompts), 4, 16, 16)
        given = np.float32(-1.0) if prompts.mask_logits is None else prompts.mask_logits
        predicted_iou = np.zeros(shape[:2], dtype=np.float32)
        drawn = drawn_outputs(predicted_iou, floors)
        return np.broadcast_to(given, shape)[drawn], predicted_iou


@pytest.mark.parametrize("fills_boxes", [False, True])
def test_a_box_comes_as_the_model_was_trained_to_see_it(fills_boxes: bool) -> None:
    backend = Echo()
    object.__setattr__(backend, "spec", replace(Stripes.spec, fills_boxes=fills_boxes))
    echoing = Predictor(backend)
    encoded = echoing.encode(np.zeros((64, 64, 3), dtype=np.uint8))
    (mask,) = echoing.segment(encoded, Prompt(box_xyxy=(16, 24, 47, 55))).masks
    inside = np.zeros((64, 64), dtype=bool)
    inside[24:56, 16:48] = fills_boxes
    assert mask_iou(mask, inside) > 0.9


def test_a_folder_of_graphs_is_loaded(toy_export: ExportReport) -> None:
    loaded = load(toy_export.folder, threads=1)
    assert isinstance(loaded.backend, OnnxBackend)
    assert loaded.spec == toy_export.spec


def test_a_file_of_weights_is_loaded(
    toy_model: Sam, predictor: Predictor, embedding: Embedding, image: np.ndarray, tmp_path: Path
) -> None:
    save_sam(toy_model, tmp_path / "mine.safetensors")
    loaded = load(tmp_path / "mine.safetensors")
    assert isinstance(loaded.backend, TorchBackend)
    assert loaded.spec.name == "mine"
    assert loaded.spec.identity != predictor.spec.identity
    expected = predictor.segment(embedding, POINT)
    batch = loaded.segment(loaded.encode(image), POINT)
    np.testing.assert_allclose(batch.logits, expected.logits, atol=1e-4)


def test_default_is_the_packaged_model(
    toy_export: ExportReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = replace(module.default_weights(), description=toy_export.folder / "model.json")
    monkeypatch.setattr(module, "default_weights", lambda: weights)
    assert load().spec == toy_export.spec


def test_a_catalogue_name_is_fetched(
    toy_model: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_sam(toy_model, tmp_path / "cached.safetensors")
    monkeypatch.setattr(module, "fetch", lambda checkpoint: tmp_path / f"{'cached'}.safetensors")
    assert load("vit_b").spec.name == "vit_b"


def test_another_device_wants_trainable_weights(
    toy_export: ExportReport, toy_model: Sam, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(toy_export.folder, folder)
    with pytest.raises(InputError, match="name a PyTorch checkpoint"):
        load(folder, device="cuda:97")
    save_sam(toy_model, folder / "model.safetensors")
    with pytest.raises(InputError, match="'cuda:97' is not available"):
        load(folder, device="cuda:97")


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    for name in ("vit_x", tmp_path / "absent"):
        with pytest.raises(InputError, match="there are default, vit_h, vit_l, vit_b") as caught:
            load(name)
        assert "\n" not in str(caught.value)


def test_a_graph_file_is_answered_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name the folder"):
        load(tmp_path / "encoder.onnx")


def test_unusable_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match=r"text\.pth"):
        load(tmp_path / "text.pth")
    with pytest.raises(WeightsError, match=r"model\.json is missing"):
        load(tmp_path)


def test_threads_are_at_least_one(toy_export: ExportReport) -> None:
    with pytest.raises(InputError, match="threads must be at least 1"):
        load(toy_export.folder, threads=0)


def test_without_pytorch_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.delitem(sys.modules, "segloop.backends.torch")
    with pytest.raises(InputError, match=r'needs torch, .* pip install "segloop\[torch\]"'):
        load(tmp_path / "mine.pth")
