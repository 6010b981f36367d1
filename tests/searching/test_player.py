"""The player: which one is found, what it is told, and that neither names nor templates reach a shell."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.video_files import make_video
from vtrcli.errors import UsageError, VideoError
from vtrcli.searching.player import open_at, player_command

# Writes down what it was given, under a name of its own so that the file is whole when it is seen.
RECORDER = """#!{python} -S
import json, os, sys
said = dict(arguments=sys.argv[1:], session=os.getsid(0), stdin=os.read(0, 10).decode())
print("a player talks"); print("a lot", file=sys.stderr)
with open({log!r} + ".part", "w") as file: json.dump(said, file)
os.rename({log!r} + ".part", {log!r})
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "platform", "linux")
    return folder


def add(programs: Path, *names: str) -> Path:
    log = programs / "log.json"
    for name in names:
        (programs / name).write_text(RECORDER.format(python=sys.executable, log=str(log)), encoding="utf-8")
        (programs / name).chmod(0o755)
    return log


def command_of(path: str, seconds: float, *, template: str | None = None) -> list[str]:
    return list(player_command(path, seconds, template=template).command)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("vlc", "mpv", "xdg-open"), ["mpv", "--start=12.400", "/v/a.mp4"]),
        (("vlc", "ffplay"), ["vlc", "--start-time=12.400", "/v/a.mp4"]),
        (("ffplay", "mplayer"), ["ffplay", "-ss", "12.400", "/v/a.mp4"]),
        (("mplayer", "xdg-open"), ["mplayer", "-ss", "12.400", "/v/a.mp4"]),
        (("iina",), ["iina", "--mpv-start=12.400", "/v/a.mp4"]),
        (("xdg-open",), ["xdg-open", "/v/a.mp4"]),
    ],
)
def test_the_first_player_that_is_there(programs: Path, names: tuple[str, ...], expected: list[str]) -> None:
    add(programs, *names)
    assert command_of("/v/a.mp4", 12.4) == expected


def test_the_system_opener_of_a_mac(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    add(programs, "open", "xdg-open")
    assert command_of("/v/a.mp4", 1.0) == ["open", "/v/a.mp4"]


def test_no_player_at_all(programs: Path) -> None:
    with pytest.raises(UsageError) as caught:
        command_of("/v/a.mp4", 1.0)
    assert str(caught.value) == (
        "no player was found; mpv, VLC, IINA, Celluloid, ffplay, MPlayer, or any other one that VTR_PLAYER names; "
        "install mpv, or set VTR_PLAYER to a command such as `mpv --start={seconds} {path}`"
    )


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        ("mine --at={seconds} {path} --loop", ["--at=7.000", "/v/{seconds} $(x) 'a'.mp4", "--loop"]),
        ("mine 'two words' \"{path}\"", ["two words", "/v/{seconds} $(x) 'a'.mp4"]),
        ("mine", ["/v/{seconds} $(x) 'a'.mp4"]),
        ("mine {other} {seconds}", ["{other}", "7.000", "/v/{seconds} $(x) 'a'.mp4"]),
        ("mine ; rm {path}", [";", "rm", "/v/{seconds} $(x) 'a'.mp4"]),
    ],
)
def test_a_template_is_split_first_and_filled_in_afterwards(
    programs: Path, template: str, arguments: list[str]
) -> None:
    add(programs, "mine", "mpv")
    assert command_of("/v/{seconds} $(x) 'a'.mp4", 7, template=template) == ["mine", *arguments]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("mpv '{path}", "it cannot be split into words (No closing quotation)"),
        (" ", "it is empty"),
        ("nothing {path}", "there is no program 'nothing'"),
    ],
)
def test_a_template_that_cannot_be_used(programs: Path, template: str, why: str) -> None:
    add(programs, "mpv")
    with pytest.raises(UsageError) as caught:
        command_of("/v/a.mp4", 1.0, template=template)
    assert str(caught.value) == (
        f"the player {template!r} cannot be used: {why}; "
        "a program and its arguments, with {path} and {seconds} where they belong; "
        "write something like `mpv --start={seconds} {path}`"
    )


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_an_impossible_time(programs: Path, seconds: float) -> None:
    with pytest.raises(UsageError) as caught:
        command_of("/v/a.mp4", seconds)
    assert str(caught.value) == f"a time of {seconds} s; a time is 0 s or later; change the time"


def test_a_name_that_looks_like_an_option_is_none(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(programs, "mpv")
    monkeypatch.chdir(programs)
    assert command_of("--script=x.lua", 0)[-1] == f"{programs}/--script=x.lua"


def wait_for(log: Path) -> dict[str, object]:
    deadline = time.monotonic() + 20
    while not log.exists():
        assert time.monotonic() < deadline, "the player was not started"
        time.sleep(0.01)
    said: dict[str, object] = json.loads(log.read_text("utf-8"))
    return said


def test_it_is_started_in_a_session_of_its_own_and_is_silent(
    programs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = add(programs, "mpv")
    path = tmp_path / "a b'; $(touch x).mp4"
    make_video(path)
    opened = open_at(path, 3.25)
    assert (opened.command, opened.at_time) == (("mpv", "--start=3.250", str(path)), True)
    said = wait_for(log)
    assert said["arguments"] == ["--start=3.250", str(path)]
    assert said["session"] != os.getsid(0) and said["stdin"] == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("template", "at_time"), [(None, False), ("mine {path}", False), ("mine +{seconds}", True)]
)
def test_it_says_whether_the_player_was_told_the_time(
    programs: Path, tmp_path: Path, template: str | None, at_time: bool
) -> None:
    log = add(programs, "xdg-open", "mine")
    make_video(tmp_path / "a.mp4")
    assert open_at(tmp_path / "a.mp4", 3, template=template).at_time is at_time
    wait_for(log)


def test_a_file_that_is_gone_and_a_player_that_does_not_start(programs: Path, tmp_path: Path) -> None:
    add(programs, "mpv")
    with pytest.raises(VideoError, match="not-found"):
        open_at(tmp_path / "gone.mp4", 0)
    (tmp_path / "evil.desktop").write_text("[Desktop Entry]\nExec=sh")
    with pytest.raises(VideoError, match="not-a-video"):
        open_at(tmp_path / "evil.desktop", 0)
    (programs / "mpv").write_text("#!/nowhere/python\n", encoding="utf-8")
    make_video(tmp_path / "a.mp4")
    with pytest.raises(UsageError) as caught:
        open_at(tmp_path / "a.mp4", 0)
    assert str(caught.value) == (
        "mpv cannot be started: No such file or directory; a player is a program that can be run; name another player"
    )
