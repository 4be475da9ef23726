from __future__ import annotations

import pytest
from starlette.requests import Request

from segloop.server.caching import not_modified


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ('"a-1"', True),
        ('W/"a-1"', True),
        ('"b", "a-1"', True),
        ("*", True),
        ('"a-2"', False),
        ("a-1", False),
        (None, False),
    ],
)
def test_a_client_that_shows_the_tag_gets_no_body(shown: str | None, expected: bool) -> None:
    headers = [] if shown is None else [(b"if-none-match", shown.encode())]
    request = Request({"type": "http", "method": "GET", "headers": headers})
    answer = not_modified(request, {"etag": '"a-1"', "cache-control": "private"})
    assert (answer is not None) is expected
    if answer is not None:
        assert answer.status_code == 304
        assert answer.body == b""
        assert answer.headers["etag"] == '"a-1"'
        assert answer.headers["cache-control"] == "private"
