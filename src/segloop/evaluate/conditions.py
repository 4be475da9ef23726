"""What a result was made on and with: the machine, the versions, and the commit where this runs from a checkout."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "segloop",
    "numpy",
    "opencv-python-headless",
    "scipy",
    "pycocotools",
    "onnxruntime",
    "torch",
    "scikit-image",
    "matplotlib",
    "transformers",
)


@dataclass(frozen=True)
class Machine:
    """The computer. processor: its name, where the system tells it; memory_bytes: likewise."""

    platform: str
    processor: str | None
    processors: int | None
    memory_bytes: int | None
    python: str


@dataclass(frozen=True)
class Conditions:
    """All that a result depends on besides data, model and settings. commit: with "+" after it where files were changed."""

    machine: Machine
    versions: dict[str, str]
    commit: str | None


@dataclass(frozen=True)
class Device:
    """What a model computes on, as it was asked for; processor: the GPU's name, None for others."""

    name: str
    processor: str | None


@dataclass(frozen=True)
class DataOrigin:
    """A dataset: its name, where it was read from, and the stamp that is another when its files have changed."""

    name: str
    path: str
    stamp: str


@dataclass(frozen=True)
class Origin:
    """What a run was started on and with, described before it scores: its end may come after a change of the checkout.

    model: the name or path it was loaded by.
    """

    model: str
    device: Device
    data: tuple[DataOrigin, ...]
    conditions: Conditions


def describe_device(name: str) -> Device:
    """The device of that name, on which a model has been loaded."""
    if not name.startswith("cuda"):
        return Device(name, None)
    import torch

    return Device(name, torch.cuda.get_device_name(name))


def describe_conditions() -> Conditions:
    """Those of this process."""
    machine = Machine(
        platform.platform(),
        _processor(),
        os.cpu_count(),
        _memory_bytes(),
        platform.python_version(),
    )
    return Conditions(machine, _versions(), commit_of(Path(__file__).resolve().parent))


def commit_of(folder: Path) -> str | None:
    """The commit of the checkout that a folder of the package lies in; None where it lies in none, or git is missing."""
    root = next((one for one in folder.parents if (one / ".git").exists()), None)
    if root is None or root / "src" not in folder.parents:
        return None
    try:
        found = [
            subprocess.run(
                ["git", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", "src"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return found[0] + ("+" if found[1] else "")


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _versions() -> dict[str, str]:
    found = {package: _version(package) for package in _PACKAGES}
    return {package: version for package, version in found.items() if version is not None}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
