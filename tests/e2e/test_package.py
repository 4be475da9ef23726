"""What is shipped: a wheel that brings page and weights to a fresh environment, and an install that needs no Node."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the repository as a release would have them, without anything that was built."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    folder = tmp_path_factory.mktemp("sources") / "segloop"
    for name in listing.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def build(sources: Path, out: Path, kind: str, **environment: str) -> Path:
    """Build a wheel or an sdist with hatchling."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out)]
    command.append(str(sources))
    if kind == "sdist":
        command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(out)]
    given = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment}
    subprocess.run(command, cwd=sources, env=given, check=True, capture_output=True)
    (made,) = out.iterdir()
    return made


def names_in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(sources, tmp_path_factory.mktemp("wheel"), "wheel")


def test_the_wheel_brings_page_and_weights_and_stays_small(wheel: Path) -> None:
    names = names_in_wheel(wheel)
    for name in ("server/page/index.html", "weights/default/encoder.onnx", "py.typed"):
        assert f"segloop/{name}" in names
    assert any(name.endswith(".wasm") for name in names)
    assert wheel.stat().st_size < 80 * MEGABYTE
    assert not [name for name in names if "node_modules" in name or name.startswith("web/")]


def test_the_sdist_carries_the_built_page(sources: Path, wheel: Path, tmp_path: Path) -> None:
    assert names_in_wheel(wheel)  # the page was built in these sources
    with tarfile.open(build(sources, tmp_path, "sdist")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert "src/segloop/server/page/index.html" in names
    assert {"web/package-lock.json", "hatch_build.py"} <= names
    assert not [name for name in names if "node_modules" in name]


def test_without_node_the_package_installs_without_the_page(sources: Path, tmp_path: Path) -> None:
    bare, empty = tmp_path / "bare", tmp_path / "empty"
    ignored = shutil.ignore_patterns("node_modules", "page")
    shutil.copytree(sources, bare, ignore=ignored)
    empty.mkdir()
    names = names_in_wheel(build(bare, tmp_path / "out", "wheel", PATH=str(empty)))
    assert "segloop/weights/default/encoder.onnx" in names
    assert "segloop/server/app.py" in names
    assert "segloop/server/page/index.html" not in names


def test_the_lock_file_names_no_address() -> None:
    lock = (ROOT / "web" / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert "http://" not in lock


def test_a_fresh_environment_serves_page_and_masks(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "environment"
    venv.create(place, with_pip=True)
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([scripts / "python", "-m", "pip", "install", *quiet, wheel], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [scripts / "segloop", "demo", "--no-browser", "--port", str(port)]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(command, cwd=tmp_path, env=alone, stdout=subprocess.DEVNULL)
    try:
        page = fetch(f"http://127.0.0.1:{port}/", process)
        assert b"<html" in page
        model = fetch(f"http://127.0.0.1:{port}/api/model", process)
        assert b'"name":"default"' in model.replace(b" ", b"")
    finally:
        process.terminate()
        process.wait(timeout=30)


def fetch(address: str, process: subprocess.Popen[bytes]) -> bytes:
    """The answer, once the server is up."""
    while True:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(address) as response:
                content: bytes = response.read()
                return content
        except ConnectionError:
            time.sleep(0.1)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
            time.sleep(0.1)
