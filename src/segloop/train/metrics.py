"""Numbers of a run as JSON lines, and as TensorBoard events where TensorBoard is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import TracebackType
from typing import Any

METRICS_NAME = "metrics.jsonl"


class MetricWriter:
    """Appends to folder/metrics.jsonl; lines past the step that a run resumes from are dropped first."""

    def __init__(self, folder: Path, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS_NAME
        kept = [line for line in self._lines() if json.loads(line)["step"] <= first_step]
        self._path.write_text("".join(line + "\n" for line in kept))
        self._stream = self._path.open("a")
        self._board: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)  # type: ignore[no-untyped-call]

    def _lines(self) -> list[str]:
        if not self._path.exists():
            return []
        lines = self._path.read_text().splitlines()
        return [line for line in lines if line.endswith("}")]

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line for a step."""
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def __enter__(self) -> MetricWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        if self._board is not None:
            self._board.close()
