from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.cli.prompting import read_requests, request_from_options
from segloop.errors import InputError


def lines(tmp_path: Path, *records: object) -> str:
    path = tmp_path / "objects.jsonl"
    texts = [one if isinstance(one, str) else json.dumps(one) for one in records]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(path)


def test_options_describe_one_object() -> None:
    request = request_from_options("a.jpg", ["5,6", "7.5,8,0"], ["1,2,30,40"], [])
    assert request.points == ((5.0, 6.0, 1.0), (7.5, 8.0, 0.0))
    assert request.box == (1.0, 2.0, 30.0, 40.0)
    assert request.image_path == Path("a.jpg")
    assert request.to_json() == {"points": [[5, 6, 1], [7.5, 8, 0]], "box": [1, 2, 30, 40]}
    prompt = request.to_prompt()
    assert np.array_equal(prompt.points_xy, [(5, 6), (7.5, 8)])
    assert np.array_equal(prompt.labels, [1, 0])
    assert np.array_equal(prompt.box_xyxy, (1, 2, 30, 40))


@pytest.mark.parametrize(
    ("points", "boxes", "masks", "message"),
    [
        ([], [], [], "no prompt"),
        (["5"], [], [], "is not x,y"),
        (["5,six"], [], [], "is not x,y"),
        (["5,6,1,1"], [], [], "is not x,y"),
        (["5,6,2"], [], [], "label must be 1"),
        ([], ["1,2,3"], [], "is not x0,y0,x1,y1"),
        ([], ["1,2,3,x"], [], "is not x0,y0,x1,y1"),
        ([], ["1,2,3,4", "1,2,3,4"], [], "one --box at most"),
        ([], [], ["a.png", "b.png"], "one --mask at most"),
    ],
)
def test_options_that_make_no_sense(
    points: list[str], boxes: list[str], masks: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        request_from_options("a.jpg", points, boxes, masks)


def test_an_empty_box_and_an_infinite_point_are_refused() -> None:
    with pytest.raises(InputError, match="is empty"):
        request_from_options("a.jpg", [], ["5,5,5,9"], []).to_prompt()
    with pytest.raises(InputError, match="finite"):
        request_from_options("a.jpg", ["inf,3"], [], []).to_prompt()


def test_lines_of_a_file_are_relative_to_it(tmp_path: Path) -> None:
    Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(tmp_path / "rough.png")
    path = lines(
        tmp_path,
        {"image": "a.jpg", "points": [[1, 2]], "id": "cup"},
        "",
        {"image": str(tmp_path / "b.jpg"), "box": [1, 2, 3, 4], "mask": "rough.png", "id": 7},
    )
    requests, failures = read_requests(path)
    assert not failures
    assert [one.image_path for one in requests] == [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    assert [one.image for one in requests] == ["a.jpg", str(tmp_path / "b.jpg")]
    assert [one.id for one in requests] == ["cup", 7]
    assert requests[0].points == ((1.0, 2.0, 1.0),)
    assert requests[1].origin.endswith("objects.jsonl, line 3")
    assert np.array_equal(requests[1].to_prompt().mask, np.eye(4, dtype=bool))


def test_lines_without_an_image_mean_the_one_named(tmp_path: Path) -> None:
    requests, failures = read_requests(lines(tmp_path, {"points": [[1, 2]]}), "photos/a.jpg")
    assert not failures
    assert requests[0].image_path == Path("photos/a.jpg")


def test_standard_input_is_relative_to_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'\xef\xbb\xbf{"image": "a.jpg", "box": [1, 2, 3, 4]}'))
    monkeypatch.setattr("sys.stdin", stdin)
    requests, _ = read_requests("-")
    assert requests[0].image_path == Path("a.jpg")
    assert requests[0].origin == "standard input, line 1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ({"image": "a.jpg"}, "no prompt"),
        ({"image": "a.jpg", "points": []}, "no prompt"),
        ({"image": "a.jpg", "point": [1, 2]}, "unknown key 'point'"),
        ({"points": [[1, 2]]}, 'no "image"'),
        ({"image": 3, "points": [[1, 2]]}, '"image" must be'),
        ({"image": "a.jpg", "mask": 3}, '"mask" must be'),
        ({"image": "a.jpg", "points": [1, 2]}, "lists of numbers"),
        ({"image": "a.jpg", "points": [["1", 2]]}, "lists of numbers"),
        ({"image": "a.jpg", "points": [[1, True]]}, "lists of numbers"),
        ({"image": "a.jpg", "points": "1,2"}, '"points" must be'),
        ({"image": "a.jpg", "points": [[1, 2, 3]]}, "label must be 1"),
        ({"image": "a.jpg", "box": [1, 2, 3]}, '"box" must be'),
        ({"image": "a.jpg", "box": {"x": 1}}, "lists of numbers"),
        ({"image": "a.jpg", "box": [1, 2, 3, 4], "id": [1]}, '"id" must be'),
        ({"image": "a.jpg", "box": [1, 2, 3, 4], "id": float("nan")}, "a finite number"),
        ('{"image": "a.jpg", "box": [1, 2, 3, 4], "id": 1e999}', "a finite number"),
        ({"image": "a.jpg", "points": [[10**400, 2]]}, '"points" has a number that is too large'),
        ({"image": "a.jpg", "box": [1, 2, 3, 10**400]}, '"box" has a number that is too large'),
        (f'{{"image": "a.jpg", "points": {100_000 * "["}', "too many nested brackets"),
        ({"image": "a\0.jpg", "points": [[1, 2]]}, "no file name can have"),
        ({"image": "a.jpg", "mask": "\ud800.png"}, "no file name can have"),
    ],
)
def test_a_bad_line_is_a_failure_and_the_rest_is_read(
    tmp_path: Path, line: object, message: str
) -> None:
    requests, failures = read_requests(
        lines(tmp_path, line, {"image": "b.jpg", "points": [[1, 2]]})
    )
    assert [one.image for one in requests] == ["b.jpg"]
    assert len(failures) == 1
    assert message in failures[0].why
    assert failures[0].what.endswith("line 1")
    assert len(str(failures[0])) < 500


def test_files_that_hold_no_lines(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_requests(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="is empty"):
        read_requests(lines(tmp_path, "", " "))
    with pytest.raises(InputError, match="cannot be read"):
        read_requests(str(tmp_path))
    (tmp_path / "photo.jsonl").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(InputError, match="not text"):
        read_requests(str(tmp_path / "photo.jsonl"))
