"""What a batch could not do: noted on the way, told at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from segloop.cli.console import FAILED, CommandError, reason_of, say
from segloop.errors import InputError, shorten

_LISTED = 50


@dataclass(frozen=True)
class Failure:
    """Something of a batch that could not be done: which, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        """Both on one line; many reasons begin with what they are about."""
        what, why = shorten(self.what), " ".join(self.why.split())
        return why if why.startswith(what) else f"{what}: {why}"


@contextmanager
def noting_failures(
    failures: list[Failure], what: str, *, of_machine: bool = False
) -> Iterator[None]:
    """Note what an image does wrong, or that memory is too small for it, and go on.

    of_machine: go on as well where its files cannot be written.
    """
    try:
        yield
    except MemoryError:
        failures.append(Failure(what, "not enough memory for it"))
    except InputError as error:
        failures.append(Failure(what, str(error)))
    except (CommandError, OSError) as error:
        if not of_machine:
            raise
        why = reason_of(error) if isinstance(error, OSError) else str(error)
        failures.append(Failure(what, why))


def tell_failures(failures: Sequence[Failure], advice: str = "") -> None:
    """List what failed, the first fifty by name, and end with exit code 1; nothing where nothing failed."""
    for failure in failures[:_LISTED]:
        say(f"segloop: failed: {failure}", style="red")
    if failures:
        more = len(failures) - _LISTED
        rest = f" ({more} more than are listed)" if more > 0 else ""
        say(f"segloop: {len(failures)} images failed{rest}{advice}")
        raise typer.Exit(FAILED)
