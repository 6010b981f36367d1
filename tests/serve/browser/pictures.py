"""Pictures that a test drops on the page."""

from __future__ import annotations

import base64
import io
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from vtrcli.video.ffmpeg import ffmpeg_binary

if TYPE_CHECKING:
    from playwright.sync_api import Page


def drop(page: Page, content: bytes, *, name: str, type: str) -> None:
    """As a person drops a file from the desktop."""
    data = page.evaluate_handle(
        """([content, name, type]) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(atob(content), one => one.charCodeAt(0))], name, { type }));
          return data;
        }""",
        [base64.b64encode(content).decode(), name, type],
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("body", event, {"dataTransfer": data})


def frame_of(video: Path) -> bytes:
    """The first frame, a PNG."""
    done = subprocess.run(
        [
            ffmpeg_binary(),
            "-v",
            "error",
            "-i",
            str(video),
            "-frames:v",
            "1",
            "-f",
            "image2pipe",
            "-c:v",
            "png",
            "-",
        ],
        capture_output=True,
        check=True,
    )
    Image.open(io.BytesIO(done.stdout)).verify()
    return done.stdout
