"""What `vtr extract` takes as its videos."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vtrcli as vtr
from tests.cli.runner import run, run_json
from tests.video_files import make_video
from vtrcli.cli.extract import input_paths, keep_watching
from vtrcli.cli.output import say_absent
from vtrcli.extraction.extract import ExtractResult
from vtrcli.extraction.watch import Changes


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"a.mp4\r\nb c.mp4\r\n", ["a.mp4", "b c.mp4"]),
        (b"a.mp4\n\nb\r.mp4", ["a.mp4", "b\r.mp4"]),
        (b"a\r\0b\n.mp4\0", ["a\r", "b\n.mp4"]),
    ],
)
def test_a_list_on_stdin_has_lines_of_either_system_or_zero_bytes(
    text: bytes, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert input_paths([Path("-")]) == ([Path(name) for name in names], True)


@pytest.mark.parametrize("seconds", ["0", "inf", "1e9"])
def test_a_timeout_has_bounds(seconds: str) -> None:
    assert run("extract", "x", "--timeout", seconds).exit_code == 2


def test_known_failures_are_one_line_and_no_error_and_go_with_their_files(tmp_path: Path) -> None:
    videos, store = tmp_path / "videos", str(tmp_path / "store")
    videos.mkdir()
    make_video(videos / "good.mp4")
    for number in range(2):
        (videos / f"bad{number}.mp4").write_bytes(b"this is no video")
    given = ("extract", str(videos), "--store", store, "--backbone", "demo", "--frames", "2")
    first = run(*given)
    assert first.exit_code == 5 and "2 could not be read" in first.stdout
    again = run(*given)
    assert again.exit_code == 0, again.output
    assert "1 already there, 2 known failures (vtr store failures), 0 frames" in again.stdout
    assert "failed:" not in again.stderr
    (videos / "bad2.mp4").write_bytes(b"nor is this")
    body = run_json(*given, exit_code=5)
    assert (body["num_failed"], body["num_known_failures"], len(body["failures"])) == (3, 2, 3)
    assert run(*given, "--retry-failed").exit_code == 5
    (videos / "bad0.mp4").unlink()
    names = [Path(row["path"]).name for row in run_json("store", "failures", "--store", store)["failures"]]
    assert names == ["bad1.mp4", "bad2.mp4"]
    assert run_json("store", "info", "--store", store)["num_failed"] == 2


def test_a_file_that_is_deleted_before_a_watch_reads_it_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, store = tmp_path / "videos", tmp_path / "store"
    folder.mkdir()
    (folder / "broken.mp4").write_bytes(b"no video")

    def bursts(*_: object, **__: object) -> Iterator[Changes]:
        for _ in range(2):
            make_video(folder / "brief.mp4")
            yield Changes(1, frozenset())
        raise KeyboardInterrupt

    def run_once(not_yet: object) -> ExtractResult:
        gone = folder / "brief.mp4"
        return vtr.extract(folder, store, backbone="demo", frames=1, on_plan=lambda plan: gone.unlink())

    monkeypatch.setattr("vtrcli.extraction.watch.settled_changes", bursts)
    keep_watching([folder], store, ExtractResult(store), run_once, json_output=False, quiet=False)
    told = capsys.readouterr()
    assert told.out.count("could not be read") == 1 and "brief" not in told.err
    assert "failed: " + str(folder / "broken.mp4") in told.err


@pytest.mark.parametrize(("number", "words"), [(1, "its 1 video stays"), (2, "its 2 videos stay")])
def test_what_is_kept_of_an_absent_folder_is_told(
    number: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_absent({"/disk": number}, quiet=False)
    told = " ".join(capsys.readouterr().err.split())
    assert told == f"note: /disk is not there; {words} (mount it, or `--under /disk`)"


def test_prune_takes_out_what_is_gone_from_the_given_folder_only(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    for folder, hue in (("one", 0), ("two", 90)):
        (tmp_path / folder).mkdir()
        make_video(tmp_path / folder / "stays.mp4", hue=hue)
        make_video(tmp_path / folder / "goes.mp4", hue=hue + 45)
    given = ("--store", store, "--backbone", "demo", "--frames", "2")
    assert run("extract", str(tmp_path / "one"), str(tmp_path / "two"), *given).exit_code == 0
    for folder in ("one", "two"):
        (tmp_path / folder / "goes.mp4").unlink()
    body = run_json("extract", str(tmp_path / "one"), *given, "--prune")
    assert (body["num_pruned"], body["num_skipped"]) == (1, 1)
    dry = run_json("store", "prune", "--missing", "--dry-run", "--store", store)
    assert [row["path"] for row in dry["pruned"]] == [str(tmp_path / "two" / "goes.mp4")]
    pruned = run("store", "prune", "--missing", "--store", store)
    assert (pruned.exit_code, pruned.stdout) == (0, "1 video taken out\n")
    assert run_json("store", "info", "--store", store)["num_videos"] == 2
    (tmp_path / "two").rename(tmp_path / "three")
    moved = run("store", "relocate", str(tmp_path / "two"), str(tmp_path / "three"), "--store", store)
    assert moved.stdout == f"1 video of {tmp_path / 'two'} now in {tmp_path / 'three'}\n"
    info = run_json("store", "info", "--store", store)
    assert [(root["folder"], root["is_there"]) for root in info["roots"]] == [
        (str(tmp_path / "one"), True),
        (str(tmp_path / "three"), True),
    ]
    (tmp_path / "three").rename(tmp_path / "away")
    assert f"{tmp_path / 'three'} (not there)" in run("store", "info", "--store", store).stdout.replace(
        "\n", ""
    )
    assert run("store", "relocate", "nowhere", str(tmp_path), "--store", store).exit_code == 3
    assert run("store", "prune", "--store", store).exit_code == 2
