"""A server of cached embeddings under load: full bodies a second for half a minute, errors, and whether memory holds still.

The server is a process of its own, as users start it; clients are threads with one connection each, in this process.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.machine import Row, write

PHOTOS = Path(__file__).resolve().parent.parent / "examples"
NUM_CLIENTS = 8
SECONDS = 30.0


def run(seconds: float = SECONDS) -> list[Row]:
    """One row: the mean time a body takes at full load."""
    port = free_port()
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "segloop", "serve", str(PHOTOS), "--port", str(port)]
        environment = {"SEGLOOP_CACHE": cache, "PATH": "/usr/bin:/bin"}
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            path, num_bytes, header_bytes = embedding_path(port)
            before = resident(server.pid)
            counts, errors = load(port, path, num_bytes, seconds)
            after = resident(server.pid)
        finally:
            server.terminate()
            server.wait(timeout=30)
    done = sum(counts)
    what = (
        f"one cached embedding of {num_bytes / 1e3:.0f} kB ({header_bytes} bytes of headers): {done / seconds:.0f} bodies "
        f"a second over {seconds:.0f} s by {NUM_CLIENTS} clients, {errors} errors, memory {before / 1e6:.0f} MB before "
        f"and {after / 1e6:.0f} MB after"
    )
    return [Row(what, seconds / max(1, done), memory_bytes=after - before)]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def embedding_path(port: int) -> tuple[str, int, int]:
    """Wait for the server and have one image embedded: its path, and the bytes of body and headers."""
    while True:
        try:
            model, images = get_json(port, "/api/model"), get_json(port, "/api/images")
            break
        except ConnectionError:
            time.sleep(0.1)
    path = f"/api/images/{images[0]['id']}/embedding?model={model['identity']}"
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    num_bytes = len(answer.read())
    connection.close()
    time.sleep(3)  # the next image of the folder is embedded ahead
    return path, num_bytes, len(str(answer.headers))


def get_json(port: int, path: str) -> object:
    """One answer of the API."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    answer: object = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def load(port: int, path: str, num_bytes: int, seconds: float) -> tuple[list[int], int]:
    """Bodies that each client got whole, and errors of all."""
    counts, errors = [0] * NUM_CLIENTS, [0] * NUM_CLIENTS
    stop = time.monotonic() + seconds

    def ask(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() < stop:
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                if answer.status == 200 and len(answer.read()) == num_bytes:
                    counts[client] += 1
                    continue
            except (OSError, http.client.HTTPException):
                connection.close()
            errors[client] += 1
        connection.close()

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts, sum(errors)


def resident(process: int) -> int:
    """Resident memory of a process, in bytes."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS")


if __name__ == "__main__":
    print(write("server", run(), 2))
