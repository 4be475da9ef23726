from __future__ import annotations

from pathlib import Path

import pytest

from segloop.data.sets.registry import SETS, open_set, set_info
from segloop.errors import InputError


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
