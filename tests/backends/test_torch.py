"""PyTorch behind the same two methods."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from segloop.backends.torch import TorchBackend, find_device
from segloop.errors import InputError
from segloop.export.parity import CASES, Case, make_prompts
from segloop.model.config import MODELS, with_text
from segloop.model.sam import Sam


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 64, 64)).astype(np.float32)


def test_sizes_come_from_the_model(toy_model: Sam) -> None:
    spec = TorchBackend(toy_model, "toy", "1234").spec
    assert (spec.name, spec.identity) == ("toy", "1234")
    assert (spec.input_size, spec.logit_size, spec.num_channels, spec.grid_size) == (64, 32, 32, 8)


def test_numbers_in_and_numbers_out(toy_model: Sam) -> None:
    backend = TorchBackend(toy_model, "toy", "x")
    features = backend.encode(image())
    features.setflags(write=False)
    prompts = make_prompts(Case(3, (1, -1)), backend.spec, np.random.default_rng(0))
    logits, predicted_iou = backend.decode(features, prompts)
    with torch.no_grad():
        expected, expected_iou = toy_model.decode(
            toy_model.encode(torch.tensor(image())[None]),
            torch.tensor(prompts.coords),
            torch.tensor(prompts.labels),
        )
    assert logits.dtype == predicted_iou.dtype == np.float32
    np.testing.assert_allclose(logits, expected.flatten(0, 1).numpy(), atol=1e-5)
    np.testing.assert_allclose(predicted_iou, expected_iou.numpy(), atol=1e-5)


def test_a_model_in_training_is_put_to_evaluation() -> None:
    model = Sam(MODELS["toy"]).train()
    TorchBackend(model, "toy", "x")
    assert not model.training


def test_text_changes_the_masks_of_a_model_that_takes_it() -> None:
    backend = TorchBackend(Sam(with_text(MODELS["toy"], 8)), "toy", "x")
    assert backend.spec.text_width == 8
    features = backend.encode(image())
    prompts = make_prompts(Case(2, (1, -1)), backend.spec, np.random.default_rng(0))
    text = np.random.default_rng(1).normal(size=(2, 8)).astype(np.float32)
    plain, _ = backend.decode(features, prompts)
    told, _ = backend.decode(features, replace(prompts, text=text))
    assert np.abs(plain - told).max() > 1e-4


def test_threads_do_not_disturb_each_other(toy_model: Sam) -> None:
    backend = TorchBackend(toy_model, "toy", "x")
    alone = [backend.encode(image(seed)) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: backend.encode(image(seed % 4)), range(16)))
    for index, features in enumerate(together):
        np.testing.assert_allclose(features, alone[index % 4], atol=1e-6)


@pytest.mark.parametrize("name", ["quantum", "", "cpu0", "cuda:x"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no device") as caught:
        find_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cuda:97", "xpu", "meta", "cpu:3"])
def test_an_absent_device_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="not available on this machine"):
        find_device(name)


def test_the_cpu_is_always_there() -> None:
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.gpu
def test_an_accelerator_gives_the_same_masks(toy_model: Sam) -> None:
    import copy

    processor = TorchBackend(toy_model, "toy", "x")
    accelerator = TorchBackend(copy.deepcopy(toy_model), "toy", "x", "cuda")
    for case in CASES:
        prompts = make_prompts(case, processor.spec, np.random.default_rng(0))
        expected, _ = processor.decode(processor.encode(image()), prompts)
        logits, _ = accelerator.decode(accelerator.encode(image()), prompts)
        np.testing.assert_allclose(logits, expected, atol=1e-2)
