"""All that a server is told: where its images are, whom it listens to, and how much it may hold.

Every store of the server is bounded by one of these numbers, so that memory and disk stay where they are.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from segloop.data.image import MAX_PIXELS
from segloop.errors import InputError

MB = 1_000_000
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
PAGE_FOLDER = Path(__file__).parent / "page"


@dataclass(frozen=True)
class ServerSettings:
    """What create_app needs beside a predictor.

    folder: images to serve, or one image; None where there are only uploads. host, port: where the server listens, from
    which follow the names it answers to and the name of its cookie. allowed_hosts: further names. token: what a client must
    show, nobody else is answered; None lets everyone in who reaches the server. is_secure: behind TLS.
    max_upload_bytes, max_body_bytes: of one picture, of any other request. max_file_bytes: larger files of the folder are
    left out. max_uploads_bytes: of all uploads, the oldest go. cache_folder: where embeddings outlive the server, by
    default beside the weights. max_memory_bytes, max_disk_bytes: packed embeddings. max_features_bytes: embeddings in full
    precision. max_jobs: images in which everything is looked for at once. prefetch: embed the next image of the folder
    ahead. page_folder: the built page.
    Raises InputError for values that make no sense.
    """

    folder: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    token: str | None = None
    is_secure: bool = False
    max_pixels: int = MAX_PIXELS
    max_upload_bytes: int = 64 * MB
    max_body_bytes: int = 16 * MB
    max_file_bytes: int = 512 * MB
    max_uploads_bytes: int = 1024 * MB
    cache_folder: Path | None = None
    max_memory_bytes: int = 256 * MB
    max_disk_bytes: int = 2048 * MB
    max_features_bytes: int = 128 * MB
    max_jobs: int = 2
    prefetch: bool = True
    page_folder: Path = PAGE_FOLDER

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"a port is a number from 0 to 65535, got {self.port}")
        if self.token is not None and (not self.token.isascii() or len(self.token) < 8):
            raise InputError("a token has at least 8 ASCII characters; leave it out to get one")
        if self.folder is not None and not self.folder.exists():
            raise InputError(f"{self.folder}: no such folder or image")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own and nobody else's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
