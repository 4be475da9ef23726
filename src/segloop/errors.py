"""What goes wrong by a user's hand, one class per kind.

Every message is one line that says what is wrong and what to do; the command line prints it and exits with 2.
"""

from __future__ import annotations

from collections.abc import Sequence

_MOST_NAMED = 10


class InputError(ValueError):
    """Something the caller gave cannot be used: a prompt, an option, a file."""


class ImageError(InputError):
    """An image is missing, not an image, truncated, or larger than the pixel limit."""


class WeightsError(InputError):
    """A weights file is missing, damaged, or does not fit the model."""


def list_problems(problems: Sequence[str]) -> str:
    """What is wrong with each of several files as one line, which names the first ten."""
    if len(problems) == 1:
        return problems[0]
    line = f"{len(problems)} files cannot be used: {'; '.join(problems[:_MOST_NAMED])}"
    return f"{line}; and {left} more" if (left := len(problems) - _MOST_NAMED) > 0 else line


def shorten(name: str) -> str:
    """A name fit for one line on a terminal."""
    plain = name.replace("\0", "?").encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= 200 else f"{plain[:100]}...{plain[-20:]}"
