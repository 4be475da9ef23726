from __future__ import annotations

import hashlib
from dataclasses import replace

from segloop.backends.torch import TorchBackend
from segloop.model.sam import Sam
from segloop.predict.predictor import Predictor
from segloop.server.services import Services, errors
from segloop.server.settings import ServerSettings


def test_the_decoder_is_the_models_graph(predictor: Predictor, settings: ServerSettings) -> None:
    services = Services.open(predictor, settings)
    assert services.decoder is not None
    assert services.decoder.content == predictor.backend.decoder_graph
    assert services.decoder.sha256 == hashlib.sha256(services.decoder.content).hexdigest()
    services.close()


def test_a_model_in_pytorch_has_no_graph_to_send(toy_model: Sam, settings: ServerSettings) -> None:
    services = Services.open(Predictor(TorchBackend(toy_model, "toy", "0123")), settings)
    assert services.decoder is None
    services.close()


def test_closing_removes_uploads(predictor: Predictor, settings: ServerSettings) -> None:
    services = Services.open(predictor, replace(settings, folder=None))
    place = services.images.new_upload().parent
    services.close()
    assert not place.exists()


def test_every_route_documents_what_any_request_may_meet() -> None:
    assert list(errors(404)) == [401, 403, 404, 421]
    for documented in errors(404, 422).values():
        assert documented["description"]
        assert "application/json" in documented["content"]
