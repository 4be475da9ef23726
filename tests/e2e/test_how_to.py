"""What the guide says of adding an evaluation, done."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from segloop.geometry.rle import encode_rle

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "guide" / "evaluation-tasks.md"


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Two pictures of bright squares on a dark ground, in SA-1B layout; a crowd is in one of them."""
    folder = tmp_path / "squares"
    folder.mkdir()
    for number in range(2):
        pixels = np.full((200, 300, 3), 30, dtype=np.uint8)
        annotations = []
        for left in (40, 180):
            mask = np.zeros((200, 300), dtype=bool)
            mask[60:140, left : left + 80] = True
            pixels[mask] = (230, 180, 40)
            annotations.append(
                {
                    "id": left,
                    "segmentation": encode_rle(mask).to_json(),
                    "bbox": [left, 60, 80, 80],
                    "area": int(mask.sum()),
                    "iscrowd": int(number == 1 and left == 180),
                }
            )
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
        record = {"image": {"image_id": number}, "annotations": annotations}
        (folder / f"{number}.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """The guide's file and the lines that run it; the file is there to be imported."""
    module, running = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    (tmp_path / "inside.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    yield module, running
    sys.modules.pop("inside", None)


def test_the_guide_leads_to_an_evaluation_that_runs_and_goes_on(
    blocks: tuple[str, str], squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = importlib.import_module("inside")
    _, running = blocks
    names = {"DATA": squares, "OUT": tmp_path / "out", "evaluate_inside": inside.evaluate_inside}
    exec(running, dict(names))
    printed = capsys.readouterr().out
    assert re.fullmatch(r"[01]\.\d{3} \([01]\.\d{3} to [01]\.\d{3}\)\n", printed)
    journal = tmp_path / "out" / "journal" / "inside.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [len(line["score"]["is_inside"]) for line in lines[1:]] == [2, 1]
    before = journal.read_bytes()
    exec(running, dict(names))
    assert capsys.readouterr().out == printed
    assert journal.read_bytes() == before


def test_the_guides_numbers_are_right(blocks: tuple[str, str]) -> None:
    inside = importlib.import_module("inside")
    images = [inside.ImageInside("a", (True, True)), inside.ImageInside("b", (False,))]
    assert inside.summarise_inside(images).mean == pytest.approx(2 / 3)
    assert inside.summarise_inside([inside.ImageInside("a", (True,))]).mean == 1.0
