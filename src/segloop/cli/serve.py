"""segloop serve and segloop demo: the model behind a page and an API."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segloop.cli.console import CommandError, say
from segloop.cli.downloads import fetch_model
from segloop.cli.options import (
    MAX_PIXELS,
    DeviceOption,
    MaxPixelsOption,
    ModelOption,
    ThreadsOption,
)
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.server.settings import ServerSettings

DEMO_IMAGE = Path(__file__).parent.parent / "server" / "demo" / "cat.jpg"

PortOption = Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")]
TokenOption = Annotated[
    str | None,
    typer.Option(
        help="What a client must show; made up for any other address than this machine's own.",
        show_default=False,
    ),
]


def serve(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="Images to serve, all below it too.", show_default=False
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen to.")] = "127.0.0.1",
    port: PortOption = 8000,
    token: TokenOption = None,
    certfile: Annotated[
        Path | None, typer.Option(help="TLS certificate, PEM.", show_default=False)
    ] = None,
    keyfile: Annotated[
        Path | None, typer.Option(help="Its private key, PEM.", show_default=False)
    ] = None,
    prefetch: Annotated[
        bool,
        typer.Option("--prefetch/--no-prefetch", help="Embed the folder's next image ahead."),
    ] = True,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    model: ModelOption = "default",
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Serve the page and the API until interrupted.

    Prints the address to open. Only this machine reaches it, unless --host
    says otherwise: then a token is part of the address, and without
    --certfile whoever shares the network can read along.

    [bold]Examples[/bold]

      segloop serve photos
      segloop serve photos --host 0.0.0.0 --certfile cert.pem --keyfile key.pem
    """
    from segloop.server.settings import ServerSettings, is_loopback

    if (certfile is None) != (keyfile is None):
        raise InputError("--certfile and --keyfile belong together: give both or neither")
    if not is_loopback(host):
        token = token or secrets.token_urlsafe(24)
        if certfile is None:
            say(
                f"segloop: warning: without --certfile what goes to and from {host} can be read on the way",
                style="yellow",
            )
    settings = ServerSettings(
        folder=folder,
        host=host,
        port=port,
        token=token,
        is_secure=certfile is not None,
        prefetch=prefetch,
        max_pixels=max_pixels,
    )
    _run(settings, model, device, threads, certfile=certfile, keyfile=keyfile)


def demo(
    image: Annotated[
        Path | None,
        typer.Argument(metavar="IMAGE", help="A photograph; a cat by default.", show_default=False),
    ] = None,
    port: PortOption = 8000,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    model: ModelOption = "default",
    threads: ThreadsOption = None,
) -> None:
    """Open one photograph in the browser, ready to be clicked on.

    Without a display the address is printed instead.

    [bold]Examples[/bold]

      segloop demo
      segloop demo photo.jpg
    """
    from segloop.server.settings import ServerSettings

    if image is not None and image.is_dir():
        raise InputError(f"{image} is a folder: segloop serve {image} serves all of it")
    settings = ServerSettings(folder=image or DEMO_IMAGE, port=port)
    opens = browser and has_display()
    _run(settings, model, "cpu", threads, opened=webbrowser.open if opens else None)


def has_display() -> bool:
    """Whether a browser opened here would be seen."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def address_of(settings: ServerSettings) -> str:
    """What to open in a browser, the token included."""
    host = settings.host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        shown = host
    else:
        # An address that stands for all of a machine's is none to open.
        shown = socket.gethostname() if address.is_unspecified else host
        shown = f"[{shown}]" if ":" in shown else shown
    scheme = "https" if settings.is_secure else "http"
    query = "" if settings.token is None else f"?token={settings.token}"
    return f"{scheme}://{shown}:{settings.port}/{query}"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; InputError where the port is taken or the address is not this machine's."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise InputError(f"--host {host}: no such address") from error
    family, kind, protocol, _, address = found
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name != "nt":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise InputError(
            f"cannot listen to {host} port {port}: {error.strerror or error}; choose another --port"
        ) from error
    return listener


def _run(
    settings: ServerSettings,
    model: str,
    device: str,
    threads: int | None,
    *,
    certfile: Path | None = None,
    keyfile: Path | None = None,
    opened: Callable[[str], Any] | None = None,
) -> None:
    import uvicorn

    from segloop.predict.predictor import load
    from segloop.server.app import create_app

    fetch_model(model)
    with closing(listen(settings.host, settings.port)) as listener:
        settings = replace(settings, port=listener.getsockname()[1])
        app = create_app(load(model, device=device, threads=threads), settings)
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=3,
            ssl_certfile=certfile,
            ssl_keyfile=keyfile,
        )
        try:
            config.load()
        except OSError as error:
            raise InputError(f"--certfile, --keyfile: {error.strerror or error}") from error
        address = address_of(settings)
        typer.echo(f"segloop serves {address}")
        sys.stdout.flush()
        if opened is not None:
            opened(address)
        else:
            say("open it in a browser; Ctrl-C stops")
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
        if not server.started:
            raise CommandError("the server could not start")
