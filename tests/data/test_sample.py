from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from segloop.data.sample import Annotation, Sample
from segloop.geometry.rle import encode_rle


def test_an_annotation_decodes_its_mask_anew_each_time() -> None:
    mask = np.zeros((5, 7), dtype=np.bool_)
    mask[1:3, 2:6] = True
    annotation = Annotation(encode_rle(mask), 8.0, (2.0, 1.0, 4.0, 2.0), id=3)

    decoded = annotation.mask()
    np.testing.assert_array_equal(decoded, mask)
    decoded[:] = True
    np.testing.assert_array_equal(annotation.mask(), mask)
    assert annotation.category is None
    assert not annotation.is_crowd


def test_a_sample_cannot_be_changed() -> None:
    sample = Sample("one", np.zeros((2, 2, 3), dtype=np.uint8), ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.name = "two"  # type: ignore[misc]
