from __future__ import annotations

import pytest
import torch

from segloop.train.calibration import calibration_sums, fold_calibration
from segloop.train.step import Mean

PREDICTED = torch.tensor([0.15, 0.18, 0.95, 1.20, -0.10])
IOU = torch.tensor([0.25, 0.30, 0.75, 1.00, 0.10])
# Bin 0: -0.20; bin 1: -0.10 - 0.12; bin 9: 0.20 + 0.20.
ERROR = (0.20 + 0.22 + 0.40) / 5
OVERCONFIDENCE = (-0.20 - 0.22 + 0.40) / 5


def divided(sums: dict[str, Mean]) -> dict[str, float]:
    return {name: float(one.total) / float(one.count) for name, one in sums.items()}


def test_is_the_error_computed_by_hand() -> None:
    found = fold_calibration(divided(calibration_sums(PREDICTED, IOU)))
    assert found == pytest.approx(
        {"calibration": ERROR, "overconfidence": OVERCONFIDENCE}, abs=1e-6
    )


def test_errors_of_one_bin_cancel_and_of_two_do_not() -> None:
    same = fold_calibration(
        divided(calibration_sums(torch.tensor([0.52, 0.58]), torch.tensor([0.42, 0.68])))
    )
    apart = fold_calibration(
        divided(calibration_sums(torch.tensor([0.52, 0.68]), torch.tensor([0.42, 0.78])))
    )
    assert same["calibration"] == pytest.approx(0.0, abs=1e-7)
    assert apart["calibration"] == pytest.approx(0.1)
    assert apart["overconfidence"] == pytest.approx(0.0, abs=1e-7)


def test_parts_add_up_to_the_whole() -> None:
    whole = calibration_sums(PREDICTED, IOU)
    parts = [calibration_sums(PREDICTED[rows], IOU[rows]) for rows in (slice(0, 1), slice(1, 5))]
    for name, one in whole.items():
        assert float(one.total) == pytest.approx(
            float(sum(part[name].total for part in parts)), abs=1e-6
        )
        assert one.count == sum(part[name].count for part in parts)


def test_other_numbers_stay_and_nothing_is_made_of_nothing() -> None:
    none = calibration_sums(torch.zeros(0), torch.zeros(0))
    assert all(one.count == 0 for one in none.values())
    assert fold_calibration({"loss": 2.0}) == {"loss": 2.0}


def test_predictions_get_no_gradient() -> None:
    predicted = torch.full((3,), 0.5, requires_grad=True)
    assert not any(
        one.total.requires_grad for one in calibration_sums(predicted, torch.ones(3)).values()
    )
