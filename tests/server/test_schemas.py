from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from segloop.server.schemas import EverythingRequest, SegmentRequest


@pytest.mark.parametrize(
    "prompt",
    [
        {"points": [[1, 2, 2]]},
        {"points": [[1, 2]]},
        {"points": [[float("inf"), 2, 1]]},
        {"points": [[1e300, 2, 1]]},
        {"points": [[1, 2, 1]] * 257},
        {"box": [1, 2, 3]},
        {"text": "cat"},
    ],
)
def test_a_prompt_that_makes_no_sense_is_refused(prompt: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SegmentRequest.model_validate({"prompts": [prompt]})


def test_a_request_holds_a_bounded_number_of_prompts() -> None:
    one = {"points": [[1, 2, 1]]}
    assert len(SegmentRequest.model_validate({"prompts": [one] * 64}).prompts) == 64
    for count in (0, 65):
        with pytest.raises(ValidationError):
            SegmentRequest.model_validate({"prompts": [one] * count})


def test_everything_is_bounded() -> None:
    assert EverythingRequest.model_validate({}).preset == "default"
    for wrong in ({"points_per_side": 129}, {"crop_layers": 3}, {"preset": "x"}, {"points": 4}):
        with pytest.raises(ValidationError):
            EverythingRequest.model_validate(wrong)
