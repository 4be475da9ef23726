"""Prints the OpenAPI description, from which the browser's client is generated: python -m segloop.server.openapi."""

from __future__ import annotations

import json
import sys

from segloop.server.app import build_api


def openapi_text() -> str:
    """The description as it is kept in the repository."""
    return json.dumps(build_api().openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_text())
