from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from segloop.data.image import load_image
from segloop.geometry.rle import Rle, decode_rle, encode_rle
from segloop.predict.predictor import Predictor
from segloop.prompts.prompt import Prompt


def ask(client: TestClient, image_id: str, *prompts: Any, **rest: Any) -> list[dict[str, Any]]:
    answer = client.post(f"/api/images/{image_id}/segment", json={"prompts": prompts, **rest})
    assert answer.status_code == 200, answer.text
    masks = answer.json()["masks"]
    assert isinstance(masks, list)
    return masks


def pixels_of(client: TestClient, image_id: str) -> np.ndarray:
    return load_image(client.get(f"/api/images/{image_id}/pixels").content)


def test_masks_are_what_the_predictor_says(
    client: TestClient, image_ids: list[str], predictor: Predictor
) -> None:
    rough = np.zeros((60, 90), dtype=bool)
    rough[20:40, 30:60] = True
    masks = ask(
        client,
        image_ids[0],
        {"points": [[40, 30, 1]]},
        {"points": [[40, 30, 1], [5, 5, 0]], "box": [10, 10, 70, 50]},
        {"mask": encode_rle(rough).to_json()},
    )
    embedding = predictor.encode(pixels_of(client, image_ids[0]))
    expected = predictor.segment(
        embedding,
        [
            Prompt(points_xy=[(40, 30)]),
            Prompt(points_xy=[(40, 30), (5, 5)], labels=[1, 0], box_xyxy=(10, 10, 70, 50)),
            Prompt(mask=rough),
        ],
    )
    assert [one["prompt"] for one in masks] == [0, 0, 0, 1, 2]
    assert [one["output"] for one in masks] == [1, 2, 3, 0, 0]
    for row, mask in enumerate(masks):
        pixels = decode_rle(Rle.from_json(mask["rle"]))
        assert np.array_equal(pixels, expected.masks[row])
        assert mask["area"] == np.count_nonzero(pixels)
        assert mask["box"] == expected.boxes_xyxy[row].astype(int).tolist()
        assert mask["predicted_iou"] == pytest.approx(float(expected.predicted_iou[row]))
        assert mask["stability_score"] == pytest.approx(float(expected.stability_score[row]))


def test_in_a_region_prompts_and_masks_stay_in_the_image(
    client: TestClient, image_ids: list[str], predictor: Predictor
) -> None:
    rough = np.zeros((60, 90), dtype=bool)
    rough[20:40, 30:60] = True
    prompts = [
        {"points": [[40, 30, 1]], "box": [20, 10, 55, 40]},
        {"mask": encode_rle(rough).to_json()},
    ]
    masks = ask(client, image_ids[0], *prompts, region=[10, 5, 60, 45], outputs="single")
    embedding = predictor.encode(pixels_of(client, image_ids[0])[5:45, 10:60])
    expected = predictor.segment(
        embedding,
        [
            Prompt(points_xy=[(30, 25)], box_xyxy=(10, 5, 45, 35)),
            Prompt(mask=rough[5:45, 10:60]),
        ],
        outputs="single",
    )
    for row, mask in enumerate(masks):
        pixels = decode_rle(Rle.from_json(mask["rle"]))
        assert np.array_equal(pixels[5:45, 10:60], expected.masks[row])
        assert pixels.sum() == mask["area"] == expected.areas[row]
        if mask["area"]:
            columns, rows = np.flatnonzero(pixels.any(0)), np.flatnonzero(pixels.any(1))
            assert mask["box"] == [columns[0], rows[0], columns[-1], rows[-1]]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ({}, "empty prompt"),
        ({"points": [[400, 30, 1]]}, "point 400,30"),
        ({"box": [50, 50, 10, 10]}, "is empty"),
        ({"box": [500, 50, 600, 60]}, "outside"),
        ({"points": [[1, 1, 5]]}, "prompts"),
        ({"points": "all"}, "prompts"),
        ({"mask": {"size": [60, 91], "counts": "0"}}, "size"),
        ({"mask": {"size": [60, 90], "counts": "not run lengths!"}}, "run lengths"),
        ({"mask": {"size": [60, 90], "counts": ""}}, "run lengths"),
        ({"mask": {"size": [60, 90], "counts": "o" * 5000}}, "run lengths"),
        ({"mask": encode_rle(np.zeros((60, 90), dtype=bool)).to_json()}, "empty"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(
    client: TestClient, image_ids: list[str], prompt: dict[str, Any], reason: str
) -> None:
    path = f"/api/images/{image_ids[0]}/segment"
    answer = client.post(path, json={"prompts": [prompt]})
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert reason in detail
    assert "\n" not in detail


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"prompts": []}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_body_that_makes_no_sense_is_refused(
    client: TestClient, image_ids: list[str], body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post(f"/api/images/{image_ids[0]}/segment", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert isinstance(answer.json()["detail"], str)


def test_a_region_outside_the_image_is_refused(client: TestClient, image_ids: list[str]) -> None:
    body = {"prompts": [{"points": [[1, 1, 1]]}], "region": [0, 0, 500, 10]}
    answer = client.post(f"/api/images/{image_ids[0]}/segment", json=body)
    assert answer.status_code == 422
    assert "region" in answer.json()["detail"]
