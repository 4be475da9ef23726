"""Asking by words, against a predictor that answers vectors with masks written down, and once with a real model."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pytest
from pydantic import TypeAdapter

from segloop.backends.base import BackendSpec
from segloop.data.sample import Annotation, Labelling, Sample
from segloop.errors import InputError
from segloop.evaluate.run import Journal
from segloop.evaluate.text import Answer, ImageText, TextProtocol, evaluate_text, score_text
from segloop.evaluate.text_summary import summarise_text
from segloop.evaluate.vocabulary import Vocabulary
from segloop.geometry.rle import encode_rle

HW = (20, 30)
NAMES = ("cat", "cow", "dog")
VOCABULARY = Vocabulary(NAMES, np.eye(3, 4, dtype=np.float32), "unit vectors")
RIGHT, WRONG = Answer(1.0, 1.0, True), Answer(0.0, 0.0, False)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(HW, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


EMPTY = rectangle(0, 0, 0, 0)
CAT, DOG = rectangle(2, 2, 8, 8), rectangle(12, 2, 22, 12)


def photo(
    *objects: tuple[str | None, np.ndarray],
    crowds: Sequence[tuple[str, np.ndarray]] = (),
    name: str = "a",
    labelling: Labelling | None = None,
) -> Sample:
    annotations = [
        Annotation(encode_rle(mask), float(mask.sum()), (0, 0, 1, 1), number, category)
        for number, (category, mask) in enumerate(objects)
    ]
    annotations += [
        Annotation(encode_rle(mask), float(mask.sum()), (0, 0, 1, 1), 90 + number, category, True)
        for number, (category, mask) in enumerate(crowds)
    ]
    image = np.full((*HW, 3), 90, dtype=np.uint8)
    return Sample(name, image, tuple(annotations), labelling=labelling)


@pytest.fixture
def heeds(scripted) -> Callable[..., object]:
    """A predictor that answers the words for a category with its mask; `click` is what it answers without words."""

    def make(masks: dict[str, np.ndarray], click: np.ndarray = EMPTY, *, width: int | None = 4):
        def answer(prompt, output):
            if prompt.text is None:
                return click, 0.5
            return masks.get([*NAMES, "none"][int(np.argmax(prompt.text))], EMPTY), 0.5

        predictor = scripted(answer)
        predictor.spec = BackendSpec("scripted", "scripted", 16, 4, 1, 1, text_width=width)
        return predictor

    return make


def score(predictor, sample: Sample, vocabulary: Vocabulary = VOCABULARY, **options) -> ImageText:
    return score_text(predictor, sample, vocabulary, protocol=TextProtocol(**options))


def test_right_words_score_one_and_wrong_words_nothing(heeds) -> None:
    image = score(heeds({"cat": CAT, "dog": DOG}), photo(("dog", DOG), ("cat", CAT)))
    assert [one.category for one in image.scores] == ["cat", "dog"]
    assert (image.model, image.counts.num_masks, image.num_incomplete) == ("scripted", 2, 0)
    for one in image.scores:
        assert one.text == one.text_point == RIGHT
        assert one.point == one.other_text == one.other_text_point == WRONG
        assert one.other in NAMES
        assert one.other != one.category
    assert image.scores[0].relative_size == pytest.approx((36 / 600) ** 0.5)


def test_an_empty_answer_scores_zero(heeds) -> None:
    (one,) = score(heeds({}), photo(("cat", CAT))).scores
    assert one.text == one.point == one.text_point == one.other_text == WRONG


def test_the_union_of_objects_and_the_best_of_them(heeds) -> None:
    # 36 and 12 pixels; the answer has all of the first, half of the second, and 6 of neither.
    second = rectangle(2, 14, 8, 16)
    answer = CAT | rectangle(2, 14, 5, 16) | rectangle(20, 18, 26, 19)
    (one,) = score(heeds({"cat": answer}), photo(("cat", CAT), ("cat", second))).scores
    assert one.num_objects == 2
    assert one.text.union_iou == pytest.approx(42 / 54)
    assert one.text.best_iou == pytest.approx(36 / 48)
    assert one.text.is_found


def test_found_is_the_object_that_fits_best_of_all_categories(heeds) -> None:
    # 36 pixels of the cat (IoU 36 / 96) and 60 of the dog (IoU 60 / 136).
    answer = CAT | rectangle(12, 2, 18, 12)
    image = score(heeds({"cat": answer, "dog": answer}), photo(("cat", CAT), ("dog", DOG)))
    cat, dog = image.scores
    assert cat.text.best_iou == pytest.approx(36 / 96)
    assert dog.text.best_iou == pytest.approx(60 / 136)
    assert (cat.text.is_found, dog.text.is_found) == (False, True)


def test_an_object_without_a_category_is_neither_asked_for_nor_found(heeds) -> None:
    image = score(heeds({"cat": DOG | CAT}), photo(("cat", CAT), (None, DOG)))
    (one,) = image.scores
    assert one.text.is_found
    assert one.text.union_iou == pytest.approx(36 / 136)


def test_the_point_is_the_centre_of_the_largest_object(heeds) -> None:
    predictor = heeds({})
    score(predictor, photo(("cat", CAT), ("cat", DOG)))
    ((outputs, prompts),) = predictor.calls
    assert outputs == "single"
    assert [len(prompt._points) for prompt in prompts] == [0, 1, 1, 0, 1]
    assert [prompt.text is None for prompt in prompts] == [False, True, False, False, False]
    for prompt in prompts:
        if len(prompt._points):
            # Of the four innermost pixels of a square of ten the first in row order.
            np.testing.assert_array_equal(prompt._points, [[16, 6]])
    np.testing.assert_array_equal(prompts[0].text, prompts[2].text)
    np.testing.assert_array_equal(prompts[3].text, prompts[4].text)


def test_vectors_are_given_unchanged(heeds) -> None:
    rows = np.array([[0.1, 0.2, 0.3, 0.4], [5, 6, 7, 8]], dtype=np.float32)
    predictor = heeds({})
    score(predictor, photo(("cat", CAT)), Vocabulary(("cat", "cow"), rows, ""))
    texts = [prompt.text for _, prompts in predictor.calls for prompt in prompts]
    np.testing.assert_array_equal(texts[0], rows[0])
    np.testing.assert_array_equal(texts[3], rows[1])


def test_the_most_confident_of_three_masks(scripted) -> None:
    masks = {0: EMPTY, 1: DOG, 2: CAT, 3: EMPTY}
    predictor = scripted(lambda prompt, output: (masks[output], {1: 0.3, 2: 0.8, 3: 0.1}[output]))
    predictor.spec = BackendSpec("scripted", "scripted", 16, 4, 1, 1, text_width=4)
    (one,) = score(predictor, photo(("cat", CAT)), outputs="best").scores
    assert one.text == one.point == one.text_point == RIGHT
    with pytest.raises(InputError, match="single or best, not 'all'"):
        TextProtocol(outputs="all")  # type: ignore[arg-type]


def test_wrong_words_hang_on_image_and_seed_alone(heeds) -> None:
    def others(name: str, seed: int = 0) -> list[str | None]:
        sample = photo(("cat", CAT), ("dog", DOG), name=name)
        return [one.other for one in score(heeds({}), sample, seed=seed).scores]

    assert others("a") == others("a")
    assert len({tuple(others(name)) for name in "abcdefgh"}) > 1
    assert len({tuple(others("a", seed)) for seed in range(8)}) > 1


def test_with_one_category_there_are_no_wrong_words(heeds) -> None:
    alone = Vocabulary(("cat",), np.eye(1, 4, dtype=np.float32), "")
    (one,) = score(heeds({"cat": CAT}), photo(("cat", CAT)), alone).scores
    assert one.text == RIGHT
    assert one.other is one.other_text is one.other_text_point is None


# --- what is passed over ----------------------------------------------------------------------------------------------


def test_an_image_without_categories_is_skipped_unseen(heeds) -> None:
    predictor = heeds({"cat": CAT})
    for sample in (photo((None, CAT)), photo(), photo(("cat", EMPTY))):
        image = score(predictor, sample)
        assert image.scores == ()
        assert image.model == "scripted"
    assert predictor.calls == []


def test_a_crowd_of_the_category_counts_neither_way(heeds) -> None:
    crowd = rectangle(10, 2, 25, 18)
    sample = photo(("cat", CAT), crowds=[("cat", crowd)])
    image = score(heeds({"cat": CAT | crowd}), sample)
    assert image.scores[0].text.union_iou == image.scores[0].text.best_iou == 1.0
    assert (image.counts.num_masks, image.counts.num_crowds) == (1, 1)
    # A crowd drawn over an object does not take it away.
    over = photo(("cat", CAT), crowds=[("cat", CAT)])
    assert score(heeds({"cat": CAT}), over).scores[0].text == RIGHT
    # A crowd of something else is as wrong as any other pixel.
    of_dogs = photo(("cat", CAT), crowds=[("dog", crowd)])
    (one,) = score(heeds({"cat": CAT | crowd}), of_dogs).scores
    assert one.text.union_iou == pytest.approx(36 / (36 + 240))
    assert score(heeds({"cat": crowd}), photo(crowds=[("cat", crowd)])).scores == ()


def test_a_crowd_does_not_hide_that_another_object_was_found(heeds) -> None:
    # The answer is the dog and a bit of the cat; most of the dog lies in a crowd of cats.
    answer = DOG | rectangle(2, 2, 8, 5)
    sample = photo(("cat", CAT), ("dog", DOG), crowds=[("cat", rectangle(12, 2, 22, 11))])
    cat = score(heeds({"cat": answer}), sample).scores[0]
    assert cat.text.union_iou == pytest.approx(18 / (36 + 10))
    assert not cat.text.is_found


def test_categories_of_which_not_every_object_is_annotated_are_passed_over(heeds) -> None:
    labelling = Labelling(frozenset({"cow"}), frozenset({"cat", "cow"}))
    image = score(heeds({}), photo(("cat", CAT), ("dog", DOG), labelling=labelling))
    assert [one.category for one in image.scores] == ["dog"]
    assert image.num_incomplete == 1


# --- what is refused --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Photos:
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Sample:
        return self.samples[index]


def test_a_model_without_text_is_refused_before_any_image(heeds) -> None:
    class Unreadable(Photos):
        def read(self, index: int) -> Sample:
            raise AssertionError

    dataset = Unreadable((photo(),))
    for width, message in ((None, "takes no text"), (3, "of 3 numbers, these have 4")):
        with pytest.raises(InputError, match=message):
            evaluate_text(lambda: heeds({}, width=width), dataset, VOCABULARY, name="drawn")  # noqa: B023


def test_a_category_without_a_vector_is_refused(heeds) -> None:
    with pytest.raises(InputError, match="no text vector for the category 'emu'"):
        score(heeds({}), photo(("emu", CAT)))


@pytest.mark.parametrize("outputs", ["single", "best"])
def test_an_answer_that_is_no_number_is_refused(scripted, damage, outputs) -> None:
    quality, logit, message = damage
    predictor = scripted(lambda prompt, output: (CAT, quality), logit=logit)
    predictor.spec = BackendSpec("scripted", "scripted", 16, 4, 1, 1, text_width=4)
    with pytest.raises(InputError, match=message):
        score(predictor, photo(("cat", CAT)), outputs=outputs)


# --- whole datasets ---------------------------------------------------------------------------------------------------


def test_images_go_through_a_journal_and_back(heeds, tmp_path) -> None:
    dataset = Photos(
        (photo(("cat", CAT), ("dog", DOG)), photo((None, CAT), name="b"), photo(name="c"))
    )
    predictor = heeds({"cat": CAT})
    journal = Journal(tmp_path / "text.jsonl", {"seed": 0})
    heard = []

    def run(load, **options):
        return evaluate_text(load, dataset, VOCABULARY, name="drawn", journal=journal, **options)

    first = run(lambda: predictor, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (3, 3)
    assert (first.name, first.model, first.vocabulary) == ("drawn", "scripted", "unit vectors")
    assert (first.counts.num_images, first.counts.num_masks) == (3, 3)
    assert [one.category for one in first.scores] == ["cat", "dog"]
    again = run(lambda: pytest.fail("nothing was left to score"))
    assert again == first
    limited = evaluate_text(
        lambda: predictor, dataset, VOCABULARY, name="drawn", protocol=TextProtocol(limit=2)
    )
    assert limited.counts.num_images == 2
    restored = TypeAdapter(ImageText).validate_python(
        json.loads(json.dumps(asdict(first.images[0])))
    )
    assert restored == first.images[0]


@pytest.fixture
def text_model():
    from segloop.model.config import MODELS, with_text
    from segloop.model.sam import Sam

    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Sam(with_text(MODELS["toy"], 4)).eval()


def evaluate_real(model, **options):
    from segloop.backends.torch import TorchBackend
    from segloop.predict.predictor import Predictor

    predictor = Predictor(TorchBackend(model, "toy", "seed 0"))
    dataset = Photos(
        (photo(("cat", CAT), ("dog", DOG)), photo(("dog", CAT), (None, DOG), name="b"))
    )
    protocol = TextProtocol(**options)
    return evaluate_text(lambda: predictor, dataset, VOCABULARY, name="drawn", protocol=protocol)


@pytest.mark.parametrize("outputs", ["single", "best"])
def test_a_real_model_goes_through_the_whole_protocol(text_model, outputs) -> None:
    first, second = (evaluate_real(text_model, outputs=outputs) for _ in range(2))
    assert first.scores == second.scores
    assert first.model == "seed 0"
    assert [(one.image, one.category) for one in first.scores] == [
        ("a", "cat"),
        ("a", "dog"),
        ("b", "dog"),
    ]
    for one in first.scores:
        for answer in (one.text, one.point, one.text_point, one.other_text, one.other_text_point):
            assert 0 <= answer.union_iou <= 1
            assert 0 <= answer.best_iou <= 1


def test_a_model_that_ignores_words_gains_exactly_nothing_by_them(text_model) -> None:
    import torch

    with torch.no_grad():
        text_model.prompt_encoder.text_projection.weight.zero_()
    result = evaluate_real(text_model)
    for one in result.scores:
        assert one.text == one.other_text
        assert one.text_point == one.other_text_point
    summary = summarise_text(result)
    for gain in (summary.gain, summary.gain_with_point):
        assert (gain.mean, gain.low, gain.high) == (0, 0, 0)


def test_what_scores_an_image_can_be_sent_to_another_process() -> None:
    from segloop.evaluate.text import TextTask
    from segloop.predict.predictor import load

    task = TextTask(partial(load, "default"), Photos((photo(),)), VOCABULARY)
    sent = pickle.loads(pickle.dumps(task))
    np.testing.assert_array_equal(sent.vocabulary.vectors, VOCABULARY.vectors)
    with pytest.raises(InputError, match="model default takes no text"):
        sent.start()
