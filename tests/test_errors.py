"""Callers may catch every mistake of a user as one kind, or as plain ValueError."""

from __future__ import annotations

import pytest

from segloop.errors import ImageError, InputError, WeightsError, list_problems, shorten


@pytest.mark.parametrize("kind", [InputError, ImageError, WeightsError])
def test_a_users_mistake_is_a_value_error_with_its_line(kind: type[InputError]) -> None:
    with pytest.raises(InputError, match=r"^cat\.jpg: no such file$") as caught:
        raise kind("cat.jpg: no such file")
    assert isinstance(caught.value, ValueError)


def test_image_and_weights_errors_are_told_apart() -> None:
    assert not issubclass(ImageError, WeightsError)
    assert not issubclass(WeightsError, ImageError)


def test_what_is_wrong_with_many_files_is_one_line() -> None:
    assert list_problems(["a: empty"]) == "a: empty"
    assert list_problems(["a: empty", "b: torn"]) == "2 files cannot be used: a: empty; b: torn"
    many = list_problems([f"{number}: torn" for number in range(12)])
    assert many.startswith("12 files cannot be used: 0: torn; ")
    assert many.endswith("; 9: torn; and 2 more")


def test_a_name_is_made_fit_for_a_line() -> None:
    assert shorten("photos/b.jpg") == "photos/b.jpg"
    assert shorten("a\0b\udc80.jpg") == "a?b\\udc80.jpg"
    assert shorten(300 * "x" + ".jpg") == 100 * "x" + "..." + 16 * "x" + ".jpg"
