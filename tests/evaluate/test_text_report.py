from __future__ import annotations

import json

import pytest

from segloop.errors import InputError
from segloop.evaluate.text import Answer, CategoryScores, ImageText, TextProtocol, TextResult
from segloop.evaluate.text_report import text_table, write_text
from segloop.evaluate.truth import Counts

GOOD, FAIR, BAD = Answer(0.8, 0.9, True), Answer(0.5, 0.6, True), Answer(0.1, 0.2, False)


def result(right: Answer, wrong: Answer | None, *, name: str = "coco") -> TextResult:
    other = None if wrong is None else "dog"
    images = [
        ImageText(
            image,
            "model-1",
            Counts(1, 2),
            0,
            (CategoryScores(image, "cat", other, 2, 0.3, right, FAIR, right, wrong, wrong),),
            1.5,
        )
        for image in "ab"
    ]
    images.append(ImageText("c", "model-1", Counts(1), 1, (), 0.5))
    counts = Counts(3, 4)
    return TextResult(name, "model-1", "v", TextProtocol(seed=3), counts, tuple(images), 3.5)


def test_the_table_sets_words_beside_wrong_ones_and_a_point() -> None:
    lines = text_table([result(GOOD, BAD)]).splitlines()
    assert lines[0].startswith("dataset")
    cells = [line.split() for line in lines[1:6]]
    assert cells[0] == ["coco", "words", "2", "0.800", "0.900", "1.000"]
    assert cells[1] == ["coco", "wrong", "words", "2", "0.100", "0.200", "0.000"]
    assert cells[2] == ["coco", "point", "2", "0.500", "0.600", "1.000"]
    assert cells[3][:3] == ["coco", "point,", "words"]
    assert cells[4][-3:] == ["0.100", "0.200", "0.000"]
    assert lines[7] == "coco: right words bring +0.700 (95% +0.700 to +0.700) IoU over wrong ones"
    assert "beside a point" in lines[8]
    assert lines[9] == "coco: 1 images have no category to ask for"
    assert lines[10].startswith("coco: 1 times a category is not wholly annotated")


@pytest.mark.parametrize("wrong", [FAIR, GOOD])
def test_a_model_that_does_not_heed_words_is_said_to(wrong: Answer) -> None:
    table = text_table([result(wrong, wrong)])
    assert table.count("no difference beyond noise, the model does not heed the words") == 2
    assert "heed" not in text_table([result(BAD, wrong)])
    assert text_table([result(BAD, wrong)]).count("wrong words do better than right ones") == 2
    assert "heed" not in text_table([result(GOOD, FAIR)])


def test_one_category_alone_has_nothing_to_be_compared_with() -> None:
    table = text_table([result(GOOD, None)])
    assert table.splitlines()[2].split()[-3:] == ["-", "-", "-"]
    assert "over wrong ones" not in table


def test_files_have_the_settings_the_numbers_and_a_line_for_every_answer(tmp_path) -> None:
    path = write_text(tmp_path / "out", [result(GOOD, BAD), result(GOOD, None, name="one")], "CLIP")
    report = json.loads(path.read_text())
    assert (report["task"], report["settings"]) == ("text", {"vectors": "CLIP"})
    first, second = report["datasets"]
    assert first["protocol"]["template"] == "a photo of a {}"
    assert first["protocol"]["seed"] == 3
    assert first["summary"]["text"]["union_iou"] == pytest.approx(
        {"mean": 0.8, "low": 0.8, "high": 0.8}
    )
    assert first["summary"]["num_skipped"] == 1
    assert second["summary"]["gain"]["mean"] is None
    assert "versions" in report
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "text.jsonl").read_text().splitlines()
    ]
    assert [(line["dataset"], line["image"]) for line in lines] == [
        ("coco", "a"),
        ("coco", "b"),
        ("one", "a"),
        ("one", "b"),
    ]
    assert lines[0]["text"] == {"union_iou": 0.8, "best_iou": 0.9, "is_found": True}
    assert lines[2]["other_text"] is None


def test_a_folder_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "file", [result(GOOD, BAD)], "CLIP")
