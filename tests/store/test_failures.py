"""failures.jsonl: the last word per file counts, a later extraction ends it, broken lines are passed over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.stores import make_record
from vtrcli.errors import StoreError
from vtrcli.store.failures import Failure, append_failure, read_failures
from vtrcli.store.records import FileState


def failure(path: str, when: float, reason: str = "corrupt") -> Failure:
    return Failure(path=path, reason=reason, detail="d", when=when, num_bytes=5, mtime_ns=7)


def test_the_last_failure_of_a_file_stands(tmp_path: Path) -> None:
    for when, reason in ((1.0, "corrupt"), (2.0, "timeout")):
        append_failure(tmp_path, failure("/a", when, reason))
    assert {path: item.reason for path, item in read_failures(tmp_path, [], keep_gone=True).items()} == {
        "/a": "timeout"
    }


def test_an_extraction_after_it_ends_a_failure(tmp_path: Path) -> None:
    append_failure(tmp_path, failure("/a", 10.0))
    append_failure(tmp_path, failure("/b", 10.0))
    records = [make_record("a", path="/a", extracted_at=11.0), make_record("b", path="/b", extracted_at=9.0)]
    assert list(read_failures(tmp_path, records, keep_gone=True)) == ["/b"]


def test_names_with_newlines_and_foreign_bytes_stay_one_line_each(tmp_path: Path) -> None:
    names = ["/a\nb", "/caf\udce9", "/日本"]
    for name in names:
        append_failure(tmp_path, failure(name, 1.0))
    assert len(list(filter(None, (tmp_path / "failures.jsonl").read_bytes().splitlines()))) == 3
    assert sorted(read_failures(tmp_path, [], keep_gone=True)) == sorted(names)


def test_a_half_written_line_is_passed_over(tmp_path: Path) -> None:
    append_failure(tmp_path, failure("/a", 1.0))
    with open(tmp_path / "failures.jsonl", "a") as file:
        file.write('{"path": "/b", "rea')
    assert list(read_failures(tmp_path, [], keep_gone=True)) == ["/a"]


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / "failures.jsonl").write_text('{"path": "/b", "rea')
    append_failure(tmp_path, failure("/c", 2.0))
    assert list(read_failures(tmp_path, [], keep_gone=True)) == ["/c"]


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        "7",
        '{"path": 1, "reason": "r", "detail": "d", "when": 1}',
        '{"path": "/a", "when": "x"}',
    ],
)
def test_a_line_of_another_kind_is_passed_over(tmp_path: Path, line: str) -> None:
    (tmp_path / "failures.jsonl").write_text(line)
    assert read_failures(tmp_path, [], keep_gone=True) == {}


def test_a_list_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "failures.jsonl").mkdir()
    with pytest.raises(
        StoreError, match="cannot read .*failures.jsonl: .*one JSON object per line; make it readable"
    ):
        read_failures(tmp_path, [], keep_gone=True)


@pytest.mark.skipif(os.name == "nt", reason="needs RLIMIT_FSIZE")
def test_a_line_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; "
        "from vtrcli.store.failures import Failure, append_failure; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20)); "
        "append_failure(Path(sys.argv[1]), Failure(path='/a', reason='r', detail='d', when=1.0))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "StoreError: cannot write" in done.stderr
    assert "No space left on device" in done.stderr


def test_a_changed_file_is_not_the_one_that_failed() -> None:
    assert failure("/a", 1.0).is_about(FileState(num_bytes=5, mtime_ns=7, fingerprint="x"))
    assert not failure("/a", 1.0).is_about(FileState(num_bytes=5, mtime_ns=8, fingerprint="x"))
