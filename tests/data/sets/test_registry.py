from __future__ import annotations

import re
from pathlib import Path

import pytest

from segloop.data.sets.registry import SETS, open_set, set_info
from segloop.errors import InputError

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "evaluation-sets.md"


def test_sets_are_found_whatever_the_case() -> None:
    assert set_info("pidray") is SETS["PIDRay"]
    assert set_info("LVIS").num_masks == 9642


def test_an_unknown_set_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no data set Cats: there are .*LVIS.*TrashCan"):
        open_set("Cats", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        open_set("LVIS", tmp_path / "nowhere")
    for name in SETS:
        with pytest.raises(InputError) as caught:
            open_set(name, tmp_path)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_an_opener_of_ones_own_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_sets.py").write_text(
        "from segloop.data.sets.listed import ListedSet\n"
        "def open_dogs(folder, *, name):\n"
        "    return ListedSet(f'{name} in {folder.name}', ())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert open_set("my_own_sets:open_dogs", tmp_path / "x").name == "my_own_sets in x"
    for name in ("my_own_sets:nothing", "no_such_module:open_dogs", ":open_dogs"):
        with pytest.raises(InputError, match=f"^{name} cannot be imported as MODULE:FUNCTION"):
            open_set(name, tmp_path)


def test_the_guide_lists_the_sets_as_the_registry_does() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in guide.splitlines() if line.startswith("| ")]
    described = [cells for cells in rows if len(cells) == 6][1:]
    assert described == [
        [
            f"| {info.name}",
            info.title,
            f"<{info.home}>",
            info.subset,
            f"{info.num_images} / {info.num_masks}",
            f"{info.layout or '**layout unconfirmed**'} |",
        ]
        for info in SETS.values()
    ]
    contents = [cells[0].removeprefix("| ") for cells in rows if len(cells) == 4][1:]
    assert contents == list(SETS)


def test_a_guess_is_said_to_be_one() -> None:
    assert SETS["IBD"].label.endswith("(layout unconfirmed)")
    assert SETS["LVIS"].label == SETS["LVIS"].title
    assert [name for name, info in SETS.items() if info.layout is None] == ["IBD"]


def test_the_papers_numbers_are_complete() -> None:
    assert len(SETS) == 23
    assert all(re.fullmatch(r"https://\S+[^/]", info.home) for info in SETS.values())
    assert sum(info.num_images for info in SETS.values()) == 40_188
    assert sum(info.num_masks for info in SETS.values()) == 172_653
