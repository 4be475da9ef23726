"""The automatic cases of the official code (tests/golden), mask for mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segloop.predict.automatic import AutomaticConfig, generate
from segloop.predict.predictor import load

# The official code's names of settings, and ours.
NAMES = {
    "points_per_side": "points_per_side",
    "pred_iou_thresh": "predicted_iou_threshold",
    "stability_score_thresh": "stability_threshold",
    "stability_score_offset": "stability_offset",
    "box_nms_thresh": "box_nms_threshold",
    "crop_n_layers": "crop_layers",
    "crop_n_points_downscale_factor": "crop_points_downscale",
    "min_mask_region_area": "min_region_px",
}


@pytest.mark.parametrize(("case", "num_masks"), [("plain", 56), ("crops", 1)])
def test_masks_are_the_official_ones(case: str, num_masks: int, golden_dir: Path) -> None:
    described = json.loads((golden_dir / "tiny_sam_cases.json").read_text())["automatic"][case]
    bits = np.load(golden_dir / "tiny_sam_outputs.npz")[f"amg_{case}/masks"]
    config = AutomaticConfig(**{NAMES[name]: value for name, value in described["args"].items()})
    predictor = load(golden_dir / "tiny_sam.pth")
    masks = generate(predictor, golden_dir / "image.png", config).masks
    assert len(masks) == len(described["masks"]) == num_masks
    height, width = masks.image_hw
    for row, expected in enumerate(described["masks"]):
        pixels = np.unpackbits(bits[row])[: height * width].reshape(height, width)
        x0, y0, x1, y1 = masks.boxes_xyxy[row].tolist()
        crop_x0, crop_y0, crop_x1, crop_y1 = masks.crop_boxes_xyxy[row].tolist()
        assert np.count_nonzero(masks.mask(row) ^ pixels.astype(np.bool_)) == 0
        assert masks.areas[row] == expected["area"]
        assert [x0, y0, x1 - x0, y1 - y0] == expected["bbox"]
        crop_xywh = [crop_x0, crop_y0, crop_x1 - crop_x0, crop_y1 - crop_y0]
        assert crop_xywh == expected["crop_box"]
        assert masks.points_xy[row].tolist() == pytest.approx(expected["point_coords"][0])
        assert masks.predicted_iou[row] == pytest.approx(expected["predicted_iou"], abs=1e-4)
        assert masks.stability_score[row] == pytest.approx(expected["stability_score"], abs=1e-4)
