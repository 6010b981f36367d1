"""Whether the pictures of a file are encrypted: what ffmpeg does not say, read from the container itself.

Without the key, decoders make pictures of noise from many such files; their complaints look like damage.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

# Boxes of an MP4 (ISO 14496-12) on the way to the description of each track's samples.
_MP4_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_MAX_BOXES = 4096
# ContentEncodings > ContentEncryption > ContentEncAlgo: AES, in the head of a Matroska or WebM file (RFC 9559).
_MATROSKA_MARK = re.compile(rb"\x6d\x80.{1,48}?\x50\x35.{1,24}?\x47\xe1\x81\x05", re.DOTALL)
_MATROSKA_HEAD_BYTES = 1 << 16
_MAX_DESCRIPTION_BYTES = 1 << 20
# Of an MPEG stream: so much from each of these places.
_LOOK_BYTES = 1 << 20
_LOOK_AT = (0.0, 0.25, 0.5, 0.75)
_FEW_PACKETS = 8


def looks_encrypted(path: str | os.PathLike[str], container: str, stream_id: int | None) -> bool:
    """Whether the video stream of an MP4/MOV, MPEG-TS or MPEG-PS, or any of a Matroska file, is marked as encrypted.

    `container` is ffmpeg's name, `stream_id` what it calls the stream's id (the PID of a transport stream). Raises
    OSError as reading does.
    """
    with open(path, "rb") as file:
        if container == "mov":
            return any(_is_protected(entry) for entry in _sample_descriptions(file))
        if container == "matroska":
            return _MATROSKA_MARK.search(file.read(_MATROSKA_HEAD_BYTES)) is not None
        if container == "mpegts" and stream_id is not None:
            return _mostly(_transport_marks(part, stream_id) for part in _parts(file))
        if container == "mpeg":
            return _mostly(_program_marks(part, stream_id) for part in _parts(file))
    return False


def _sample_descriptions(file: BinaryIO) -> Iterator[bytes]:
    """The stsd box's content of every track."""
    size = file.seek(0, os.SEEK_END)
    level = [(0, size)]
    for kind in _MP4_PATH:
        level = [box for begin, end in level for box in _boxes(file, kind, begin, end)]
    for begin, end in level:
        file.seek(begin)
        yield file.read(min(end - begin, _MAX_DESCRIPTION_BYTES))


def _boxes(file: BinaryIO, kind: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Begin and end of the content of every box of this kind between two positions."""
    for _ in range(_MAX_BOXES):
        file.seek(begin)
        head = file.read(16)
        length, content = int.from_bytes(head[:4], "big"), begin + 8
        if length == 1:
            length, content = int.from_bytes(head[8:16], "big"), begin + 16
        elif length == 0:
            length = end - begin
        if len(head) < 8 or length < content - begin or begin + length > end:
            return
        if head[4:8] == kind:
            yield content, begin + length
        begin += length


def _is_protected(description: bytes) -> bool:
    """Whether a video entry says so: `encv`, or FairPlay's `drmi`; not where its `tenc` box calls samples clear."""
    for entry in re.finditer(rb"(encv|drmi)\x00{6}", description):
        default = description.find(b"tenc", entry.end())
        if default < 0 or len(description) < default + 11:
            return True
        if description[
            default + 10
        ]:  # version and flags (4), 2 reserved or pattern bytes, then default_isProtected
            return True
    return False


def _parts(file: BinaryIO) -> Iterator[bytes]:
    size = file.seek(0, os.SEEK_END)
    for share in _LOOK_AT if size > _LOOK_BYTES else _LOOK_AT[:1]:
        file.seek(int(size * share))
        yield file.read(_LOOK_BYTES)


def _mostly(parts: Iterator[tuple[int, int]]) -> bool:
    """From (scrambled, all) packets of each part: whether more than half are scrambled."""
    counts = list(parts)
    scrambled, total = sum(part[0] for part in counts), sum(part[1] for part in counts)
    return total >= _FEW_PACKETS and 2 * scrambled > total


def _transport_marks(part: bytes, stream_id: int) -> tuple[int, int]:
    """transport_scrambling_control of the packets of one PID (ISO 13818-1, 2.4.3.2)."""
    for length in (188, 192, 204):
        first = next((at for at in range(length) if part[at : at + 3 * length : length] == b"GGG"), None)
        if first is None:
            continue
        count = (len(part) - first) // length
        packets = np.frombuffer(part, np.uint8, count * length, first).reshape(count, length)
        pid = (packets[:, 1].astype(int) & 0x1F) << 8 | packets[:, 2]
        mine = packets[(packets[:, 0] == 0x47) & (pid == stream_id)]
        return int((mine[:, 3] & 0xC0 != 0).sum()), len(mine)
    return 0, 0


def _program_marks(part: bytes, stream_id: int | None) -> tuple[int, int]:
    """PES_scrambling_control of video packets (ISO 13818-1, 2.4.3.6), as discs with CSS have it."""
    wanted = bytes([stream_id]) if stream_id is not None and 0xE0 <= stream_id <= 0xEF else b"\xe0"
    flags = [
        match[1][0] for match in re.finditer(rb"\x00\x00\x01" + wanted + rb"..([\x80-\xbf])", part, re.DOTALL)
    ]
    return sum(flag & 0x30 != 0 for flag in flags), len(flags)
