from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloop.data.sets.dram import class_of_things
from segloop.data.sets.label_maps import Label
from segloop.data.sets.registry import open_set
from segloop.errors import InputError

Save = Callable[..., Path]


def test_each_class_in_a_painting_is_one_mask(tmp_path: Path, save_picture: Save) -> None:
    labels = np.array([[0, 15, 255, 15], [12, 12, 20, 0]], dtype=np.uint8)
    save_picture("test/realism/jules-breton/farm.jpg", (2, 4))
    save_picture("labels/realism/jules-breton/farm.png", labels)
    sample = open_set("DRAM", tmp_path).read(0)
    dog, person = sample.annotations
    assert sample.name == "test/realism/jules-breton/farm"
    assert (dog.category, person.category) == ("dog", "person")
    assert np.array_equal(dog.mask(), labels == 12)
    assert np.array_equal(person.mask(), labels == 15)


def test_other_classes_and_void_are_left_out() -> None:
    assert class_of_things(17) == Label("sheep")
    assert class_of_things(0) is class_of_things(20) is class_of_things(255) is None


def test_labels_of_another_size_are_refused(tmp_path: Path, save_picture: Save) -> None:
    save_picture("test/a.jpg", (2, 4))
    save_picture("labels/a.png", np.full((3, 4), 15, dtype=np.uint8))
    with pytest.raises(InputError, match=r"a\.png is \(3, 4\)"):
        open_set("DRAM", tmp_path).read(0)
