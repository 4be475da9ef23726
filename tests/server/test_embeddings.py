from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from segloop.errors import ImageError, InputError
from segloop.predict.predictor import Predictor
from segloop.predict.wire import unpack_embedding
from segloop.server.embeddings import LOOKUP_THREADS, check_region
from segloop.server.services import Services
from segloop.server.settings import ServerSettings


class Counting(Protocol):
    num_encoded: int
    gate: threading.Event


@pytest.fixture
def services(predictor: Predictor, settings: ServerSettings) -> Iterator[Services]:
    services = Services.open(predictor, settings)
    yield services
    services.close()


async def idle(services: Services) -> None:
    while services.embeddings.num_pending:
        await asyncio.sleep(0.005)


def test_an_embedding_is_the_predictors(services: Services, predictor: Predictor) -> None:
    image = services.images.list()[0]
    packed = asyncio.run(services.embeddings.packed(image))
    expected = predictor.encode(image.read())
    found = unpack_embedding(packed)
    assert found.frame == expected.frame
    assert found.model == expected.model
    span = float(np.abs(expected.features).max())
    assert np.abs(found.features - expected.features).max() <= span / 127
    held = asyncio.run(services.embeddings.embedding(image))
    assert np.array_equal(held.features, expected.features)


def test_without_room_for_features_the_packed_form_serves(
    predictor: Predictor, settings: ServerSettings
) -> None:
    services = Services.open(predictor, replace(settings, max_features_bytes=0))
    image = services.images.list()[0]
    packed = asyncio.run(services.embeddings.packed(image))
    held = asyncio.run(services.embeddings.embedding(image))
    assert np.array_equal(held.features, unpack_embedding(packed).features)
    services.close()


def test_a_region_is_embedded_on_its_own(services: Services, predictor: Predictor) -> None:
    from segloop.data.image import load_image

    image = services.images.list()[0]
    packed = asyncio.run(services.embeddings.packed(image, (10, 5, 60, 45)))
    found = unpack_embedding(packed)
    assert found.frame.image_hw == (40, 50)
    expected = predictor.encode(load_image(image.read())[5:45, 10:60])
    assert np.abs(found.features - expected.features).max() < 0.02 * np.abs(expected.features).max()


def test_many_who_ask_for_a_new_image_cost_one_encoding(
    services: Services, backend: Counting
) -> None:
    image = services.images.list()[0]

    async def ask() -> list[bytes]:
        backend.gate.clear()
        asking = [asyncio.ensure_future(services.embeddings.packed(image)) for _ in range(50)]
        await asyncio.sleep(0.05)
        asking[0].cancel()  # one that goes away takes nothing from the others
        backend.gate.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        return [one for one in found if isinstance(one, bytes)]

    found = asyncio.run(ask())
    assert len(found) == 49
    assert len(set(found)) == 1
    assert backend.num_encoded == 1


def test_those_who_wait_do_not_hold_up_cached_ones(
    services: Services, backend: Counting, folder: Path, picture: Callable[..., bytes]
) -> None:
    for seed in range(2 * LOOKUP_THREADS):
        (folder / f"z{seed}.png").write_bytes(picture((30, 30), 50 + seed))
    first, *others = services.images.list()

    async def ask() -> None:
        cached = await services.embeddings.packed(first)
        backend.gate.clear()
        waiting = [asyncio.ensure_future(services.embeddings.packed(one)) for one in others]
        await asyncio.sleep(0.1)
        assert await asyncio.wait_for(services.embeddings.packed(first), 30) == cached
        assert not any(one.done() for one in waiting)
        backend.gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(ask())
    assert backend.num_encoded == 1 + len(others)


def test_an_image_that_breaks_is_tried_again(
    services: Services, folder: Path, backend: Counting
) -> None:
    image = services.images.list()[0]
    content = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(content[:50])
    with pytest.raises(ImageError):
        asyncio.run(services.embeddings.packed(image))
    (folder / "a.png").write_bytes(content)
    assert asyncio.run(services.embeddings.packed(image))[:4] == b"SGE1"
    assert backend.num_encoded == 1


def test_embeddings_outlive_the_server(
    predictor: Predictor, settings: ServerSettings, backend: Counting
) -> None:
    found = []
    for _ in range(2):
        services = Services.open(predictor, settings)
        found.append(asyncio.run(services.embeddings.packed(services.images.list()[0])))
        services.close()
    assert found[0] == found[1]
    assert backend.num_encoded == 1


def test_the_next_image_is_embedded_ahead(
    predictor: Predictor, settings: ServerSettings, backend: Counting
) -> None:
    services = Services.open(predictor, replace(settings, prefetch=True))
    first, second, third = services.images.list()

    async def ask() -> list[int]:
        counts = []
        for image in (first, second, third, first):
            await services.embeddings.packed(image)
            await idle(services)
            counts.append(backend.num_encoded)
        return counts

    # The second is there when the first has been asked for, the third when the second has.
    assert asyncio.run(ask()) == [2, 3, 3, 3]
    services.close()


def test_nothing_is_embedded_ahead_where_it_is_turned_off(
    services: Services, backend: Counting
) -> None:
    async def ask() -> None:
        await services.embeddings.packed(services.images.list()[0])
        await idle(services)

    asyncio.run(ask())
    assert backend.num_encoded == 1


@pytest.mark.parametrize(
    "region", [(0, 0, 0, 10), (10, 0, 5, 10), (0, 0, 91, 60), (0, 0, 90, 61), (-1, 0, 5, 5)]
)
def test_a_region_lies_in_the_image(region: tuple[int, int, int, int]) -> None:
    check_region(None, (60, 90))
    check_region((0, 0, 90, 60), (60, 90))
    with pytest.raises(InputError, match="90 x 60"):
        check_region(region, (60, 90))
