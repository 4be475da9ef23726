"""What the packed form of an embedding costs: bytes on the way, and mean IoU of masks decoded from it.

Run: python -m benchmarks.wire DATASET [--limit N]. DATASET as for `segloop evaluate points`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.machine import RESULTS
from segloop.backends.base import Embedding
from segloop.data.sa1b import open_sa1b
from segloop.evaluate.truth import SampleSource, choose_images, in_groups, usable_annotations
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import mask_iou
from segloop.predict.predictor import Predictor, load
from segloop.predict.wire import pack_embedding, unpack_embedding
from segloop.prompts.prompt import Prompt
from segloop.prompts.simulate import center_click, truth_box

FORMS = ("float32", "float16", "int8")
_PIXELS_AT_ONCE = 16_000_000


@dataclass(frozen=True)
class WireRow:
    """One form: bytes of an embedding, mean IoU with the truth of one centre click (best predicted) and of a box.

    same_iou: mean IoU of the masks themselves with those of float32, least_same_iou the least of them.
    """

    form: str
    num_bytes: int
    click_iou: float
    box_iou: float
    same_iou: float
    least_same_iou: float


def run(
    predictor: Predictor, dataset: SampleSource, limit: int | None
) -> tuple[list[WireRow], int]:
    """The rows, and how many masks they were measured on."""
    click = {form: list[float]() for form in FORMS}
    box = {form: list[float]() for form in FORMS}
    same = {form: list[float]() for form in FORMS}
    num_bytes = dict.fromkeys(FORMS, 0)
    for index in choose_images(len(dataset), limit, seed=0):
        sample = dataset.read(index)
        forms, sizes = in_forms(predictor.encode(sample.image, keep_pixels=False))
        num_bytes.update(sizes)
        for _, truths in in_groups(
            usable_annotations(sample)[0], sample.image.shape[:2], _PIXELS_AT_ONCE
        ):
            reference = None
            for form in FORMS:
                clicked, boxed = masks_of(predictor, forms[form], truths)
                click[form] += mask_iou(clicked, truths).tolist()
                box[form] += mask_iou(boxed, truths).tolist()
                masks = np.concatenate([clicked, boxed])
                reference = masks if reference is None else reference
                same[form] += mask_iou(masks, reference).tolist()
    rows = [
        WireRow(
            form,
            num_bytes[form],
            float(np.mean(click[form])),
            float(np.mean(box[form])),
            float(np.mean(same[form])),
            float(np.min(same[form])),
        )
        for form in FORMS
    ]
    return rows, len(click["int8"])


def in_forms(embedding: Embedding) -> tuple[dict[str, Embedding], dict[str, int]]:
    """The embedding as each form gives it back, and the bytes of each."""
    features, packed = embedding.features, pack_embedding(embedding)
    half = features.astype(np.float16)
    forms = {
        "float32": embedding,
        "float16": replace(embedding, features=half.astype(np.float32)),
        "int8": unpack_embedding(packed),
    }
    return forms, {"float32": features.nbytes, "float16": half.nbytes, "int8": len(packed)}


def masks_of(
    predictor: Predictor, embedding: Embedding, truths: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """Masks (N, H, W) for the centre click of each truth, and for its box."""
    clicks = [Prompt(points_xy=[center_click(truth)], labels=[1]) for truth in truths]
    boxes = []
    for truth in truths:
        corners = truth_box(truth).copy()
        corners[2:] = np.maximum(corners[2:], corners[:2] + 1)
        boxes.append(Prompt(box_xyxy=corners))
    clicked = predictor.segment(embedding, clicks, outputs="best").masks
    return clicked, predictor.segment(embedding, boxes, outputs="single").masks


def write_rows(rows: list[WireRow], place: dict[str, object]) -> str:
    """Write results/wire.json and wire.md; the Markdown."""
    lines = [
        "# wire",
        "",
        "{model}, {masks} masks of {images} images of {dataset}.".format(**place),
        "",
        "| form | bytes | click, mean IoU | box, mean IoU | IoU with float32's masks | least |",
        "|---|--:|--:|--:|--:|--:|",
        *(
            f"| {row.form} | {row.num_bytes:,} | {row.click_iou:.4f} | {row.box_iou:.4f} "
            f"| {row.same_iou:.4f} | {row.least_same_iou:.3f} |"
            for row in rows
        ),
    ]
    text = "\n".join(lines) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "wire.md").write_text(text, encoding="utf-8")
    report = {**place, "rows": [asdict(row) for row in rows]}
    (RESULTS / "wire.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return text


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--model", default="default")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    dataset = open_sa1b(given.dataset)
    rows, num_masks = run(load(given.model, threads=given.threads), dataset, given.limit)
    num_images = len(choose_images(len(dataset), given.limit, seed=0))
    place = {
        "model": f"model {given.model}",
        "dataset": given.dataset.name,
        "images": num_images,
        "masks": num_masks,
    }
    print(write_rows(rows, place))


if __name__ == "__main__":
    main()
