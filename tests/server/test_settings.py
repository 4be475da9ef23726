from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segloop.errors import InputError
from segloop.server.settings import ServerSettings, is_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("192.168.1.4", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_only_this_machines_own_addresses_are_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    assert ServerSettings(host=host).is_loopback is expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70_000},
        {"token": "short"},
        {"token": "länger als acht"},
        {"folder": Path("no/such")},
    ],
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        ServerSettings(**wrong)
