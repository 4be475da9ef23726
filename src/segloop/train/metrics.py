"""Numbers of a run as JSON lines, and as TensorBoard events where TensorBoard is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from segloop.errors import InputError

METRICS_NAME = "metrics.jsonl"
SKIPPED_NAME = "skipped.txt"
NOTHING_HELD_OUT = "no image is held out, so nothing is validated"

Item = TypeVar("Item")


class MetricWriter:
    """Appends to folder/metrics.jsonl; lines past the step that a run resumes from are dropped first.

    Without a folder nothing is written: of several processes only the first has one. Raises InputError where the disk
    refuses.
    """

    def __init__(self, folder: Path | None, first_step: int) -> None:
        self._board: Any = None
        self._stream: FileIO | None = None
        if folder is None:
            return
        self._path = folder / METRICS_NAME
        partial = self._path.with_suffix(".partial")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = [line for line in self._lines() if json.loads(line)["step"] <= first_step]
            partial.write_text("".join(line + "\n" for line in kept))
            os.replace(partial, self._path)
            self._stream = self._path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {error.strerror}") from error
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def _lines(self) -> list[str]:
        if not self._path.exists():
            return []
        lines = self._path.read_text().splitlines()
        return [line for line in lines if line.endswith("}")]

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line for a step; numbers that are not finite, which JSON has none of, are left out."""
        if self._stream is None:
            return
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        try:
            self._stream.write((json.dumps({"step": step, **finite}) + "\n").encode())
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {error.strerror}") from error
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def show(self, step: int, picture: Path) -> None:
        """Put a picture of this step among the TensorBoard events, if there is such a file."""
        if self._board is not None and picture.is_file():
            pixels = np.asarray(Image.open(picture).convert("RGB"))
            self._board.add_image("validation", pixels, step, dataformats="HWC")

    def __enter__(self) -> MetricWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._board is not None:
            self._board.close()


class SkippedItems:
    """Counts what could not be used since this process began, and says why in folder/skipped.txt, a line each.

    The file is the first of its kind to fail when the disk is full, and is not worth stopping for.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SKIPPED_NAME
        self._said: set[str] = set()
        self.count = 0

    def add(self, problem: str) -> None:
        """Count one; problem: what is wrong with it."""
        self.count += 1
        with suppress(OSError), self._path.open("a", encoding="utf-8") as stream:
            stream.write(problem + "\n")

    def usable(
        self, read: Callable[[int], Item], numbers: Iterable[int]
    ) -> Iterator[tuple[int, Item]]:
        """What can be read of the items of these numbers; what cannot is counted, the first time that it is asked for."""
        for number in numbers:
            try:
                item = read(number)
            except InputError as error:
                if str(error) not in self._said:
                    self._said.add(str(error))
                    self.add(str(error))
                continue
            yield number, item

    def as_validation(self) -> dict[str, float]:
        """The count as a metric of a validation, where it is not 0."""
        return {"validation/skipped": self.count} if self.count else {}
