from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.backends.base import BackendSpec
from segloop.data.coco_instances import open_coco
from segloop.data.sa1b import open_sa1b
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.evaluate.vocabulary import build_vocabulary, category_names, check_takes_text
from segloop.geometry.rle import encode_rle


@dataclass
class Source:
    """Gives every text the number of its letters as a vector."""

    identity: str = "letters"
    width: int = 2
    asked: list[str] = field(default_factory=list)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)


def test_names_are_asked_for_in_the_words_of_the_paper() -> None:
    source = Source()
    vocabulary = build_vocabulary(("cat", "bow_(weapon)"), source)
    assert source.asked == ["a photo of a cat", "a photo of a bow (weapon)"]
    assert vocabulary.names == ("cat", "bow_(weapon)")
    np.testing.assert_array_equal(vocabulary.vector("cat"), [16, 1])
    assert vocabulary.width == 2
    with pytest.raises(InputError, match="no text vector for the category 'cow'"):
        vocabulary.vector("cow")


def test_names_words_and_source_make_the_identity() -> None:
    identities = [
        build_vocabulary(("cat",), Source()).identity,
        build_vocabulary(("dog",), Source()).identity,
        build_vocabulary(("cat",), Source("other")).identity,
        build_vocabulary(("cat",), Source(), "{}").identity,
    ]
    assert len(set(identities)) == 4
    assert build_vocabulary(("cat",), Source()).identity == identities[0]


def test_another_category_is_never_the_same_one() -> None:
    vocabulary = build_vocabulary(("cat", "cow", "dog"), Source())
    rng = np.random.default_rng(0)
    drawn = [vocabulary.draw_other("cow", rng) for _ in range(30)]
    assert set(drawn) == {"cat", "dog"}
    assert build_vocabulary(("cat",), Source()).draw_other("cat", rng) is None


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_vectors_that_are_not_finite_are_refused(broken: float) -> None:
    class Broken(Source):
        def vectors(self, texts: Sequence[str]) -> np.ndarray:
            found = super().vectors(texts)
            found[1, 0] = broken
            return found

    with pytest.raises(InputError, match="the text vector of 'dog' has numbers that are not"):
        build_vocabulary(("cat", "dog"), Broken())


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"1 texts need vectors \(1, 3\), got \(1, 2\)"):
        build_vocabulary(("cat",), Source(width=3))


def test_nothing_to_ask_for_is_refused() -> None:
    with pytest.raises(InputError, match="no annotation has a category"):
        build_vocabulary((), Source())
    with pytest.raises(InputError, match=r"template has no \{\} where the category goes: 'a cat'"):
        build_vocabulary(("cat",), Source(), "a cat")


def test_a_model_must_take_text_of_this_width() -> None:
    with_text = BackendSpec("toy", "0", 64, 32, 8, 8, text_width=5)
    check_takes_text(with_text)
    check_takes_text(with_text, 5)
    with pytest.raises(InputError, match="text vectors of 5 numbers, these have 2"):
        check_takes_text(with_text, 2)
    with pytest.raises(InputError, match="model toy takes no text"):
        check_takes_text(BackendSpec("toy", "0", 64, 32, 8, 8))


# --- the categories of a dataset --------------------------------------------------------------------------------------


def square_annotation(number: int, category: str | None, *, is_crowd: bool = False) -> Annotation:
    mask = np.zeros((8, 8), dtype=bool)
    mask[1:4, 1:4] = True
    return Annotation(encode_rle(mask), 9.0, (1, 1, 3, 3), number, category, is_crowd)


def test_categories_of_samples_in_memory() -> None:
    class Memory:
        def __len__(self) -> int:
            return 2

        def read(self, index: int) -> Sample:
            image = np.zeros((8, 8, 3), dtype=np.uint8)
            one = square_annotation(1, ("dog", "cat")[index], is_crowd=index == 1)
            return Sample(f"{index}", image, (one, square_annotation(2, None)))

    assert category_names(Memory()) == ("cat", "dog")


def test_categories_of_sa1b_layout_are_found_without_its_images(tmp_path: Path) -> None:
    for name, category in (("a", "dog"), ("b", None), ("c", "cat")):
        one = square_annotation(1, category)
        record = {"id": 1, "segmentation": one.rle.to_json(), "bbox": [1, 1, 3, 3], "area": 9}
        if category is not None:
            record["category"] = category
        (tmp_path / f"{name}.json").write_text(json.dumps({"annotations": [record]}))
        (tmp_path / f"{name}.jpg").write_bytes(b"no image")
    assert category_names(open_sa1b(tmp_path)) == ("cat", "dog")


def test_categories_of_coco_layout_are_those_it_lists(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "annotations": [],
        "categories": [{"id": 7, "name": "dog"}, {"id": 9, "name": "cat"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    assert category_names(open_coco(tmp_path / "all.json", tmp_path)) == ("cat", "dog")
