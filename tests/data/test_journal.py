from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from segloop.data.journal import append_line, read_lines, sole_use
from segloop.errors import InputError


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert read_lines(path) == []
    for line in (b"one", b"two"):
        append_line(path, line)
    assert read_lines(path) == [b"one", b"two"]


def test_a_line_cut_short_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"one\ntw")
    assert read_lines(path) == [b"one"]
    append_line(path, b"three")
    assert path.read_bytes() == b"one\nthree\n"
    path.write_bytes(b"on")
    assert read_lines(path) == []
    assert path.read_bytes() == b""


LIMITED = """
import resource, signal, sys
from pathlib import Path
from segloop.data.journal import append_line
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
path = Path(sys.argv[1])
append_line(path, b"1234")
try:
    append_line(path, b"1234567890")
except OSError:
    print(path.read_bytes())
"""


def test_what_does_not_fit_the_disk_leaves_no_trace(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "journal")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == r"b'1234\n'"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        sole_use(tmp_path),
        pytest.raises(InputError, match="another run is writing to"),
        sole_use(tmp_path),
    ):
        pass
    with sole_use(tmp_path):
        assert tmp_path.is_dir()
