"""Segment an object in a photograph and keep it as a cut-out.

python examples/segment.py examples/coffee.jpg 76 14 482 388 cup.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

import segloop
from segloop.geometry.overlay import cut_out


def cut_out_box(
    predictor: segloop.Predictor, photo: Path, box_xyxy: list[float], target: Path
) -> float:
    """Write what the box shows as a PNG with a transparent background; the predicted IoU of its mask."""
    image = segloop.load_image(photo)
    embedding = predictor.encode(image)
    masks = predictor.segment(embedding, segloop.Prompt(box_xyxy=box_xyxy), outputs="best")
    logits = embedding.frame.logits_to_image(masks.logits[0])
    Image.fromarray(cut_out(image, masks.masks[0], logits)).save(target)
    return float(masks.predicted_iou[0])


def main() -> None:
    if len(sys.argv) != 7:
        raise SystemExit(f"usage: {sys.argv[0]} PHOTO X0 Y0 X1 Y1 OUT.png")
    photo, *corners, target = sys.argv[1:]
    box_xyxy = [float(corner) for corner in corners]
    predicted_iou = cut_out_box(segloop.load(), Path(photo), box_xyxy, Path(target))
    print(f"{target}: predicted IoU {predicted_iou:.2f}")


if __name__ == "__main__":
    main()
