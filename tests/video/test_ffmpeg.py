"""ffmpeg_binary: which ffmpeg is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtrcli.errors import InputError
from vtrcli.video.ffmpeg import ffmpeg_binary


def fake(path: Path, words: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o755)
    return path


def test_the_bundled_one_is_the_default() -> None:
    assert "imageio_ffmpeg" in ffmpeg_binary()


def test_the_environment_variable_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = fake(tmp_path / "ffmpeg", "ffmpeg version n7.1 Copyright")
    monkeypatch.setenv("VTR_FFMPEG", str(binary))
    assert ffmpeg_binary() == str(binary)


def test_a_build_without_a_version_number_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTR_FFMPEG", str(fake(tmp_path / "git", "ffmpeg version N-118-g2a5 Copyright")))
    assert ffmpeg_binary().endswith("git")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("ffmpeg version 5.1.6-0+deb12u1 Copyright", "its version is 5"),
        ("hello", "it does not answer `-version` as ffmpeg does"),
    ],
)
def test_an_unusable_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, why: str
) -> None:
    binary = fake(tmp_path / "ffmpeg", words)
    monkeypatch.setenv("VTR_FFMPEG", str(binary))
    with pytest.raises(InputError) as caught:
        ffmpeg_binary()
    assert str(caught.value) == (
        f"{binary} cannot be used: {why}; ffmpeg 7 or newer is needed; "
        "install a newer one or unset VTR_FFMPEG to use the bundled one"
    )


def test_a_missing_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTR_FFMPEG", "/nowhere/ffmpeg")
    with pytest.raises(InputError) as caught:
        ffmpeg_binary()
    assert str(caught.value) == (
        "VTR_FFMPEG is '/nowhere/ffmpeg', which is no program; VTR_FFMPEG names an ffmpeg executable; "
        "correct or unset VTR_FFMPEG"
    )
