"""What goes wrong by a user's hand, one class per kind.

Every message is one line that says what is wrong and what to do; the command line prints it and exits with 2.
"""

from __future__ import annotations


class InputError(ValueError):
    """Something the caller gave cannot be used: a prompt, an option, a file."""


class ImageError(InputError):
    """An image is missing, not an image, truncated, or larger than the pixel limit."""


class WeightsError(InputError):
    """A weights file is missing, damaged, or does not fit the model."""


def shorten(name: str) -> str:
    """A name fit for one line on a terminal."""
    plain = name.replace("\0", "?").encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= 200 else f"{plain[:100]}...{plain[-20:]}"
