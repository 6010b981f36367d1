"""Tiny real videos, made by recorded ffmpeg calls."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vtrcli.video.ffmpeg import ffmpeg_binary


def make_video(
    path: Path, *, seconds: float = 1.0, hue: float = 0.0, size: str = "64x48", fps: int = 10
) -> Path:
    """A moving test picture, its colours turned by `hue` degrees so that no two are alike."""
    command = [ffmpeg_binary(), "-v", "error", "-y", "-f", "lavfi"]
    command += ["-i", f"testsrc2=size={size}:rate={fps}:duration={seconds},hue=h={hue}"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path
