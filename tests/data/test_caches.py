from __future__ import annotations

import sys
from pathlib import Path

import pytest

from segloop.data.caches import cache_folder


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"SEGLOOP_CACHE": "/chosen"}, "/chosen"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/segloop"),
        ("linux", {}, "/ann/.cache/segloop"),
        ("darwin", {}, "/ann/Library/Caches/segloop"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/segloop"),
    ],
)
def test_the_cache_folder_is_the_platforms(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("SEGLOOP_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/ann", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == Path(expected)
