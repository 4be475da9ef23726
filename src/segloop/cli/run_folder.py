"""The folder of a long run: what is done in it, by which model and settings, and every file whole.

run.json says what the results were made with, done.jsonl has a line for every image that is done. A file is written under
another name, flushed to the disk and renamed, an image's line comes last: a run that dies loses the image in hand.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from segloop.cli.console import CommandError
from segloop.cli.results import prepare_folder
from segloop.data.folder import ImageFile
from segloop.data.journal import append_line, read_lines, sole_use
from segloop.errors import InputError

MANIFEST, JOURNAL, COCO, PARTIAL = "run.json", "done.jsonl", "coco.json", ".partial"
# What is wrong with one image's name; any other failure to write would meet the next image as well.
_NAME_ERRORS = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EILSEQ}


@dataclass(frozen=True)
class Manifest:
    """What results were made with: version of segloop, name and identity of the model, settings by name."""

    segloop: str
    model: str
    identity: str
    settings: Mapping[str, Any]

    def to_json(self) -> bytes:
        """The content of run.json."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @staticmethod
    def read(path: Path) -> Manifest | None:
        """The manifest, None where there is none; InputError where the file is something else."""
        try:
            return Manifest(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path} was not written by this command: name another folder"
            ) from error

    def differences(self, other: Manifest) -> list[str]:
        """What the results of the other were made with that is not so here, in words."""
        found = []
        if self.segloop != other.segloop:
            found.append(f"segloop {other.segloop} (now {self.segloop})")
        if self.identity != other.identity:
            found.append(f"model {other.model} (now {_distinct(self, other)})")
        mine, theirs = json.loads(self.to_json())["settings"], other.settings
        return found + [
            f"{name} {theirs.get(name)} (now {mine.get(name)})"
            for name in sorted({*mine, *theirs})
            if mine.get(name) != theirs.get(name)
        ]


@dataclass(frozen=True)
class Job:
    """An image, and the name of its results: a path below the folder, without suffix."""

    image: ImageFile
    name: str


@dataclass(frozen=True)
class Done:
    """A line of the journal: an image, its content, and the files made of it with their sizes."""

    name: str
    source: str
    num_bytes: int
    sha256: str
    modified_ns: int
    num_masks: int
    files: Mapping[str, int]


class RunFolder:
    """A folder that one run has to itself; made by open_run."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._earlier = Manifest.read(folder / MANIFEST)
        lines = _read_journal(folder / JOURNAL) if self._earlier else ()
        self._done = {one.name: one for one in lines}

    @property
    def done(self) -> tuple[Done, ...]:
        """All images that are done, by name."""
        return tuple(self._done[name] for name in sorted(self._done))

    def path(self, name: str) -> Path:
        """Where a file of this name lies."""
        return self._folder / name

    def plan(
        self,
        images: Sequence[ImageFile],
        files_of: Callable[[Job], Sequence[str]],
        *,
        redo: bool = False,
    ) -> tuple[list[Job], list[Done]]:
        """The images still to do and those that are done: with the same content, and all files whole.

        files_of: the files wanted of a job. redo: none counts as done. Names are those of the images, with -2, -3, ... where
        two would share a file; an image keeps the name of its earlier results. Raises InputError where results would
        overwrite what no run has made, or were made with another manifest and redo does not replace them all.
        """
        earlier = self._earlier
        jobs = self._name(images, files_of)
        if earlier is None:
            self._check_unused(file for job in jobs for file in files_of(job))
        elif earlier != self._manifest and (changes := self._manifest.differences(earlier)):
            self._check_replaced(jobs, changes, redo)
        if redo:
            self._forget([job.name for job in jobs])
        if earlier is None or redo:
            self.write(MANIFEST, self._manifest.to_json())
        waiting, done = [], []
        for job in jobs:
            one = self._done.get(job.name)
            if one and self._is_whole(one, files_of(job)) and _is_same(one, job.image):
                done.append(one)
            else:
                waiting.append(job)
        return waiting, done

    def earlier_file(self, job: Job, name: str) -> bytes | None:
        """A file that was made of an image as it still is, None where there is none."""
        one = self._done.get(job.name)
        if one and self._is_whole(one, [name]) and _is_same(one, job.image):
            return self.path(name).read_bytes()
        return None

    def write(self, name: str, content: bytes) -> int:
        """Write a file that appears whole or not at all; its size. Errors as in write_stream."""
        with self.write_stream(name) as stream:
            stream.write(content)
        return len(content)

    @contextmanager
    def write_stream(self, name: str) -> Iterator[BinaryIO]:
        """A stream into a file that appears, whole, at the end.

        Raises InputError where the name cannot be had, CommandError where the disk takes no more.
        """
        target, partial = self.path(name), self.path(PARTIAL) / "file"
        try:
            partial.parent.mkdir(exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, target)
            _flush_folder(target.parent)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            kind = InputError if error.errno in _NAME_ERRORS else CommandError
            raise kind(f"cannot write {target}: {error.strerror or error}") from error

    def finish(self, job: Job, content: bytes, files: Mapping[str, int], num_masks: int) -> None:
        """Note that an image of this content is done, when its files are written."""
        self._drop_stale(job.name, files)
        digest = hashlib.sha256(content).hexdigest()
        modified = _modified_ns(job.image)
        one = Done(
            job.name, job.image.source, len(content), digest, modified, num_masks, dict(files)
        )
        journal = self.path(JOURNAL)
        try:
            append_line(journal, json.dumps(asdict(one), separators=(",", ":")).encode())
        except OSError as error:
            raise CommandError(f"cannot write {journal}: {error.strerror or error}") from error
        self._done[job.name] = one

    def _name(
        self, images: Sequence[ImageFile], files_of: Callable[[Job], Sequence[str]]
    ) -> list[Job]:
        owners = {file.casefold(): "" for file in (MANIFEST, JOURNAL, COCO)}
        owners |= {file.casefold(): one.name for one in self._done.values() for file in one.files}
        by_source = {one.source: one.name for one in self._done.values()}
        names = {one.source: by_source[one.source] for one in images if one.source in by_source}
        taken, numbers = set(names.values()), dict[str, int]()

        def is_free(job: Job) -> bool:
            earlier = self._done.get(job.name)
            return (
                job.name not in taken
                and (earlier is None or _has_content(earlier, job.image))
                and all(owners.get(file.casefold(), job.name) == job.name for file in files_of(job))
            )

        jobs = []
        for image in images:
            stem = PurePosixPath(image.name).with_suffix("").as_posix()
            job = Job(image, names.get(image.source, stem))
            while image.source not in names and not is_free(job):
                numbers[stem] = numbers.get(stem, 1) + 1
                job = Job(image, f"{stem}-{numbers[stem]}")
            taken.add(job.name)
            owners |= {file.casefold(): job.name for file in files_of(job)}
            jobs.append(job)
        return jobs

    def _check_unused(self, files: Iterator[str]) -> None:
        for file in (*files, JOURNAL, COCO):
            path = self.path(file)
            if path.exists() and (file != JOURNAL or path.stat().st_size):
                raise InputError(
                    f"{path} is there already and was not made by this command: name another folder"
                )

    def _check_replaced(self, jobs: Sequence[Job], changes: Sequence[str], redo: bool) -> None:
        made = f"{self._folder} was made with {', '.join(changes)}"
        others = len({*self._done} - {job.name for job in jobs})
        if not redo:
            raise InputError(f"{made}: name another folder, or make it anew with --redo")
        if others:
            raise InputError(
                f"{made}, and holds {others} images that are not named now: name another folder"
            )

    def _forget(self, names: Sequence[str]) -> None:
        """Delete the results of these images, then their lines."""
        for name in names:
            if name in self._done:
                self._drop_stale(name, {})
                del self._done[name]
        lines = (json.dumps(asdict(one), separators=(",", ":")) for one in self._done.values())
        self.write(JOURNAL, "".join(f"{line}\n" for line in lines).encode())

    def _drop_stale(self, name: str, kept: Mapping[str, int]) -> None:
        """Delete earlier files of an image that are not made any more."""
        earlier = self._done.get(name)
        for file in earlier.files if earlier else ():
            if file not in kept and ".." not in PurePosixPath(file).parts:
                with suppress(OSError):
                    self.path(file).unlink()

    def _is_whole(self, one: Done, files: Sequence[str]) -> bool:
        try:
            return all(self.path(file).stat().st_size == one.files[file] for file in files)
        except (KeyError, OSError):
            return False


@contextmanager
def open_run(folder: Path, manifest: Manifest) -> Iterator[RunFolder]:
    """Make a folder ready for a run and clear what a dead one left; InputError where another run is at work in it."""
    prepare_folder(folder)
    with sole_use(folder):
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)
        try:
            yield RunFolder(folder, manifest)
        finally:
            shutil.rmtree(folder / PARTIAL, ignore_errors=True)


def _read_journal(path: Path) -> Iterator[Done]:
    for line in read_lines(path):
        with suppress(TypeError, ValueError):
            yield Done(**json.loads(line))


def _is_same(one: Done, image: ImageFile) -> bool:
    """Whether an image is still the one that was done; it is read only where its date has changed."""
    try:
        size = image.member.size
        num_bytes = image.member.path.stat().st_size if size is None else size
    except OSError:
        return False
    if num_bytes != one.num_bytes:
        return False
    unmoved = image.source == one.source and _modified_ns(image) == one.modified_ns
    return unmoved or _has_content(one, image)


def _has_content(one: Done, image: ImageFile) -> bool:
    try:
        return hashlib.sha256(image.read()).hexdigest() == one.sha256
    except InputError:
        return False


def _modified_ns(image: ImageFile) -> int:
    try:
        return image.member.path.stat().st_mtime_ns
    except OSError:
        return 0


def _distinct(mine: Manifest, other: Manifest) -> str:
    return mine.model if mine.model != other.model else f"{mine.model} with other weights"


def _flush_folder(folder: Path) -> None:
    """Have a rename itself reach the disk, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
