"""From what ffmpeg said to the fixed reason words of `vtrcli.errors.VIDEO_FAILURE_REASONS`."""

from __future__ import annotations

import re
import signal

from vtrcli.video.formats import Family

NO_REASON = "ffmpeg gave no reason"
_DETAIL_CHARACTERS = 200

# Tried in this order; the first that matches names the reason.
_SIGNS = (
    ("too-large", r"exceeds specified max pixel count|Picture size .* is invalid"),
    ("memory", r"Cannot allocate memory|[Ff]ailed to allocate|Out of memory|pthread_create\(\) failed"),
    ("encrypted", r"[Ee]ncrypt"),
    ("decoder-crashed", r"No such filter|Unrecognized option|Option not found"),
)
# Lines that repeat in other words what an earlier line said.
_ECHOES = re.compile(
    r"Task finished with error|Terminating thread|Error opening input files|Conversion failed|Nothing was written"
    r"|Error parsing options|At least one output file|Error opening output|non monotonically increasing dts to muxer"
)


def open_failure(log: bytes, family: Family | None, status: int) -> str:
    """Reason for a file that ffmpeg could not open; `family` is what its first bytes look like."""
    crash = crash_reason(status)
    if crash:
        return crash
    if re.search(rb"Permission denied", log):
        return "no-permission"
    if family == "audio":
        return "no-video-stream"
    return "corrupt" if family == "video" else "not-a-video"


def decode_failure(log: bytes, status: int, *, is_encrypted: bool) -> str:
    """Reason for a video of which not one frame came."""
    crash = crash_reason(status)
    if crash:
        return crash
    text = log.decode(errors="replace")
    for reason, sign in _SIGNS:
        if re.search(sign, text):
            return reason
    if is_encrypted:
        return "encrypted"
    if _complaints(log):
        return "corrupt"
    return "decoder-crashed" if status > 0 else "no-frames"  # no library could be loaded, say


def crash_reason(status: int) -> str | None:
    """Reason for a child that a signal ended; None for one that ended by itself."""
    if status >= 0:
        return None
    # Nobody but the kernel, short of memory, sends this one to a child of ours.
    return "memory" if -status == getattr(signal, "SIGKILL", 9) else "decoder-crashed"


def first_complaint(log: bytes) -> str:
    """The first telling line of the log, without addresses, short enough for a table; empty when there is none."""
    lines = _complaints(log)
    return lines[0][:_DETAIL_CHARACTERS] if lines else ""


def _complaints(log: bytes) -> list[str]:
    """Messages of level error and above: "[h264 @ 0x55] [error] no frame!" -> "no frame!"."""
    found = re.findall(rb"^(?:\[[^\]\n]* @ [^\]\n]*\] )*\[(?:error|fatal|panic)\] +(.*)$", log, re.MULTILINE)
    lines = [
        re.sub(r"(not on whitelist) '.*'", r"\1", line.decode(errors="replace").strip()) for line in found
    ]
    return [line for line in lines if line and line.isprintable() and not _ECHOES.search(line)]
