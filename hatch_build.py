"""Builds the web page into the package while pip installs it or a wheel or sdist is made.

Nothing here may fail an install: without Node or without a network the package comes without the page, and the server says
how to get it. SEGLOOP_WEB=0 leaves the page alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What Vite asks for.
LEAST_NODE = (20, 19)
STAMP = "sources.sha256"
MINUTES = 10


class PageBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """`npm ci` and `npm run build`, unless the page is already there from these very sources."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page if it can be built; `version` and `build_data` are hatch's."""
        web = Path(self.root) / "web"
        page = Path(self.root) / "src" / "segloop" / "server" / "page"
        if os.environ.get("SEGLOOP_WEB") == "0" or not (web / "package-lock.json").is_file():
            return
        sources = hash_of(web)
        stamp = page / STAMP
        if (page / "index.html").is_file() and stamp.is_file() and stamp.read_text() == sources:
            return
        reason = build_page(web)
        if reason:
            self.app.display_warning(f"the web page is left out: {reason}")
        else:
            stamp.write_text(sources)


def build_page(web: Path) -> str:
    """Build the page; why it could not be built, empty if it was."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return "Node.js is not installed"
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    numbers = tuple(int(number) for number in re.findall(r"\d+", found.stdout)[:2])
    if numbers < LEAST_NODE:
        return f"Node.js {found.stdout.strip()} is older than {'.'.join(map(str, LEAST_NODE))}"
    for command in ([npm, "ci"], [npm, "run", "build"]):
        try:
            done = subprocess.run(
                command, cwd=web, capture_output=True, text=True, timeout=60 * MINUTES, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{' '.join(command[1:])}: {error}"
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
            return f"npm {' '.join(command[1:])} failed: {last[0]}"
    return ""


def hash_of(web: Path) -> str:
    """One digest over everything the page is made from."""
    digest = hashlib.sha256()
    tops = ("src", "public", "index.html", "package-lock.json", "tsconfig.json", "vite.config.ts")
    for top in tops:
        place = web / top
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        for path in files:
            if path.is_file():
                digest.update(path.relative_to(web).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
