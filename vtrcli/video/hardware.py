"""Decoding by a graphics card (NVDEC, `-hwaccel cuda` of ffmpeg): whether it can be had, and which videos go there.

Frames come back to the host's memory as the card keeps them and go through the same filters as any: the decoder alone
is another. It takes the codecs whose standards fix every bit of a picture, in the two pixel formats that come back
without loss, so that features do not depend on where a video was decoded (docs/decoding.md).
"""

from __future__ import annotations

import functools
import subprocess

from vtrcli.errors import UsageError
from vtrcli.video.ffmpeg import ffmpeg_binary, first_complaint
from vtrcli.video.files import VideoInfo

# MPEG-2, MPEG-4 part 2, VC-1 and JPEG leave rounding to the decoder; for AV1 ffmpeg's usual decoder knows no card.
CODECS = ("h264", "hevc", "vp8", "vp9")
# As ffmpeg's own decoders give them, which is what a frame from the card becomes again.
PIXEL_FORMATS = ("yuv420p", "yuv420p10le")
_SECONDS = 20.0


def require_gpu_decoding(gpu: int) -> None:
    """Raises UsageError where the ffmpeg in use decodes nothing on that card."""
    why = trouble(ffmpeg_binary(), gpu)
    if why is not None:
        raise UsageError(
            f"decoding on GPU {gpu} cannot be had here: {why}",
            allowed="an NVIDIA GPU with its driver, and an ffmpeg built with CUDA, as the bundled one is on Linux",
            to_do="leave out --decode-on gpu, or name another ffmpeg with VTR_FFMPEG",
        )


@functools.cache
def trouble(binary: str, gpu: int) -> str | None:
    """Why this ffmpeg decodes nothing on that card, in its own words where it has some; None where it does."""
    status, said = _said(binary, "-hwaccels")
    if status or b"cuda" not in said.split():
        return f"{binary} was built without CUDA"
    device = ("-init_hw_device", f"cuda=card:{gpu}")
    picture = ("-f", "lavfi", "-i", "color=size=64x64:duration=0.04", "-f", "null", "-")
    status, said = _said(binary, *device, *picture)
    return (first_complaint(said) or f"ffmpeg ended with {status}") if status else None


def not_for_a_card(info: VideoInfo) -> str | None:
    """Why a video is left to the processor; None where the card may have it."""
    if info.codec not in CODECS:
        return f"codec {info.codec}"
    return None if info.pixel_format in PIXEL_FORMATS else f"pixel format {info.pixel_format}"


def _said(binary: str, *options: str) -> tuple[int, bytes]:
    """Exit status and all output of one call."""
    command = [binary, "-hide_banner", "-nostdin", "-v", "level+error", *options]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, f"[error] {error}\n".encode()
    return done.returncode, done.stdout
