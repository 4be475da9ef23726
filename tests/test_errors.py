"""Callers may catch every mistake of a user as one kind, or as plain ValueError."""

from __future__ import annotations

import pytest

from segloop.errors import ImageError, InputError, WeightsError


@pytest.mark.parametrize("kind", [InputError, ImageError, WeightsError])
def test_a_users_mistake_is_a_value_error_with_its_line(kind: type[InputError]) -> None:
    with pytest.raises(InputError, match=r"^cat\.jpg: no such file$") as caught:
        raise kind("cat.jpg: no such file")
    assert isinstance(caught.value, ValueError)


def test_image_and_weights_errors_are_told_apart() -> None:
    assert not issubclass(ImageError, WeightsError)
    assert not issubclass(WeightsError, ImageError)
