"""A checkpoint is downloaded under the eyes of whoever waits for it."""

from __future__ import annotations

from segloop.cli.console import LOG_SECONDS, progress_bar

_MEGABYTE = 1e6


def fetch_model(name: str) -> None:
    """Download an official checkpoint with a bar, unless it is there; other models come from elsewhere.

    Raises WeightsError as segloop.weights.catalog.fetch does.
    """
    from segloop.data.caches import cache_folder
    from segloop.weights.catalog import CHECKPOINTS, fetch

    checkpoint = CHECKPOINTS.get(name)
    if checkpoint is None or (cache_folder() / checkpoint.file_name).is_file():
        return
    with progress_bar(f"downloading {name}", log_seconds=LOG_SECONDS) as bar:

        def show(done: int, total: int | None) -> None:
            bar.update(done / _MEGABYTE, None if total is None else total / _MEGABYTE, "MB")

        fetch(checkpoint, progress=show)
