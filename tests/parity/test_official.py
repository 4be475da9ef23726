"""Every step from picture to mask gives what the official code gave (tests/golden), to 1e-4."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segloop.data.image import load_image
from segloop.data.transforms import prepare_input
from segloop.geometry.frames import FloatArray, Frame
from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.prompts.prompt import PackedPrompts, Prompt, pack
from segloop.weights.load import load_sam

CASES = ("point", "point_single", "points", "box", "box_multi", "point_box", "point_mask")


@dataclass(frozen=True)
class Golden:
    model: Sam
    image: FloatArray
    frame: Frame
    outputs: dict[str, FloatArray]
    cases: dict[str, Any]
    raw: dict[str, Any]

    @property
    def features(self) -> torch.Tensor:
        return torch.from_numpy(self.outputs["image_embedding"])

    def prompt(self, name: str) -> Prompt:
        case = self.cases[name]
        logits = self.outputs[case["mask_input"]][0] if "mask_input" in case else None
        return Prompt(
            case.get("point_coords"), case.get("point_labels"), case.get("box"), logits=logits
        )

    def answer(self, packed: PackedPrompts) -> tuple[FloatArray, FloatArray]:
        with torch.inference_mode():
            logits, iou = self.model.decode(
                self.features,
                torch.from_numpy(packed.coords),
                torch.from_numpy(packed.labels),
                None if packed.mask_logits is None else torch.from_numpy(packed.mask_logits),
                torch.from_numpy(packed.has_mask),
            )
        return logits.numpy(), iou.numpy()


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    image = load_image(golden_dir / "image.png")
    described = json.loads((golden_dir / "tiny_sam_cases.json").read_text())
    with np.load(golden_dir / "tiny_sam_outputs.npz") as stored:
        outputs = {name: stored[name] for name in stored.files}
    return Golden(
        model=load_sam(golden_dir / "tiny_sam.pth"),
        image=image,
        frame=Frame(image.shape[:2], 256, 64),
        outputs=outputs,
        cases=described["cases"],
        raw=described["prompt_encoder_raw"],
    )


def close(ours: Any, theirs: FloatArray) -> bool:
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0.0, atol=1e-4)
    return True


def test_sizes_are_read_off_the_tensors(golden: Golden) -> None:
    assert golden.model.config == MODELS["tiny"]


def test_every_case_is_compared(golden: Golden) -> None:
    assert set(golden.cases) == set(CASES)


def test_prepared_input(golden: Golden) -> None:
    assert close(prepare_input(golden.image, golden.frame)[None], golden.outputs["preprocessed"])


def test_image_embedding(golden: Golden) -> None:
    with torch.inference_mode():
        features = golden.model.encode(torch.from_numpy(golden.outputs["preprocessed"]))
    assert close(features, golden.outputs["image_embedding"])


def test_position_code_of_the_grid(golden: Golden) -> None:
    places = golden.model.prompt_encoder.position_code.grid(16)
    theirs = golden.outputs["dense_pe"].reshape(1, 32, 256).transpose(0, 2, 1)
    assert close(places, theirs)


@pytest.mark.parametrize(
    ("name", "has_points", "has_box", "has_mask"),
    [
        ("pe_points", True, False, False),
        ("pe_box", False, True, False),
        ("pe_points_box", True, True, False),
        ("pe_points_mask", True, False, True),
    ],
)
def test_prompt_encoder(
    golden: Golden, name: str, has_points: bool, has_box: bool, has_mask: bool
) -> None:
    square = Frame((256, 256), 256, 64)  # the raw inputs are in the input frame already
    mask = golden.outputs[golden.raw["mask"]][0] if has_mask else None
    prompt = Prompt(
        golden.raw["points"] if has_points else None,
        golden.raw["labels"] if has_points else None,
        golden.raw["box"] if has_box else None,
        logits=mask,
    )
    packed = pack([prompt], square)[0]
    encoder = golden.model.prompt_encoder
    with torch.inference_mode():
        tokens = encoder.encode_points(
            torch.from_numpy(packed.coords), torch.from_numpy(packed.labels), 256
        )
        given = packed.mask_logits
        masks = None if given is None else torch.from_numpy(given)
        dense = encoder.encode_masks(golden.features, masks, None)
    theirs = golden.outputs[f"{name}/dense"].reshape(1, 32, 256).transpose(0, 2, 1)
    assert close(tokens, golden.outputs[f"{name}/sparse"])
    assert close(dense.detach().expand(1, 256, 32), theirs)


@pytest.mark.parametrize("name", CASES)
def test_masks_and_predicted_iou(golden: Golden, name: str) -> None:
    logits, iou = golden.answer(pack([golden.prompt(name)], golden.frame)[0])
    outputs = slice(1, 4) if golden.cases[name]["multimask_output"] else slice(0, 1)
    assert close(logits[0, outputs], golden.outputs[f"{name}/low_res"])
    assert close(iou[0, outputs], golden.outputs[f"{name}/iou"])
    in_image = golden.frame.logits_to_image(logits[0, outputs])
    assert close(in_image[:, ::5, ::5], golden.outputs[f"{name}/logits_every_5th"])


def test_prompts_of_one_shape_give_the_same_answers_together(golden: Golden) -> None:
    prompts = [golden.prompt(name) for name in ("box", "point_single", "box_multi", "point")]
    for packed in pack(prompts, golden.frame):
        logits, iou = golden.answer(packed)
        for row, index in enumerate(packed.index):
            name = ("box", "point_single", "box_multi", "point")[index]
            outputs = slice(1, 4) if golden.cases[name]["multimask_output"] else slice(0, 1)
            assert close(logits[row, outputs], golden.outputs[f"{name}/low_res"])
            assert close(iou[row, outputs], golden.outputs[f"{name}/iou"])
