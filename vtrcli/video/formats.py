"""Which files are videos: known suffixes, a look at the first bytes, and the demuxers ffmpeg may use.

The look is a cheap filter for folders and gives failures their reason; what decides in the end is ffmpeg,
restricted to `DEMUXERS`.
"""

from __future__ import annotations

import os
import re
from typing import Literal

Family = Literal["video", "audio", "playlist", "photo"]

SNIFF_BYTES = 4096

VIDEO_SUFFIXES = frozenset(
    """
    .3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2ts .m2v .m4v .mj2 .mjpeg .mjpg .mkv .mov
    .mp4 .mpe .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .wtv .y4m
    """.split()
)

# Also what programmers call their sources (TypeScript): such a file is a video unless it is text.
TEXT_SUFFIXES = frozenset([".ts", ".mts"])

# Sound and subtitles in containers that otherwise hold videos.
SOUND_SUFFIXES = frozenset(
    ".aac .aif .aiff .caf .m4a .m4b .m4p .m4r .mka .mks .mp2 .mp3 .mpa .oga .opus .ra .sub .wav .weba .wma".split()
)

# What browsers and download programs put behind a name until the file is whole (and beside it, those that keep notes in
# a file of their own).
UNFINISHED_SUFFIXES = frozenset(
    """
    .!bt .!qb .!ut .aria2 .bc! .crdownload .dctmp .download .fdmdownload .filepart .incomplete .opdownload .part
    .partial .temp .tmp .unconfirmed .ytdl
    """.split()
)

# Every demuxer here reads one file and nothing else. Left out on purpose: hls, dash, concat, image2 and
# other lists; tty (renders text); lavfi (runs filters); mpjpeg and sdp (network); subtitles and sound.
DEMUXERS = (
    "asf,av1,avi,cavsvideo,dirac,dnxhd,dv,flv,gif,h261,h263,h264,hevc,ivf,live_flv,m4v,matroska,webm,mjpeg,"
    "mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,vc1test,vvc,wtv,yuv4mpegpipe"
)

# Bare streams of coded pictures: they carry no time stamps, so the frame rate has to stand in for them.
STREAMS_WITHOUT_TIMES = frozenset(
    "av1 cavsvideo dirac dnxhd h261 h263 h264 hevc m4v mjpeg mpegvideo obu vc1 vvc".split()
)

# Containers with one frame per tick by definition, whose time stamps are often those of decoding.
CONSTANT_RATE = frozenset(["mxf"])

# Containers whose index leads straight to the key frame before a given time.
SEEKABLE = frozenset(["asf", "avi", "flv", "matroska", "mov", "nut"])

_PLAYLIST = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:#EXTM3U|ffconcat\b|\[playlist\]|\[reference\]|<asx\b|<\?wpl\b|<smil\b"
    rb"|(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:\w+:)?(?:MPD|playlist|SmoothStreamingMedia)\b|v=0\r?\no=)",
    re.IGNORECASE | re.DOTALL,
)
_VIDEO_MAGIC = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"GIF8",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG-1/2 video
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
    b".RMF",
    b"DKIF",  # IVF
    b"YUV4MPEG2",
    b"nut/multimedia container\x00",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11",  # WTV
    b"\x12\x00\x0a",  # AV1 OBU
)
_AUDIO_MAGIC = (b"ID3", b"fLaC", b"#!AMR", b"MThd", b"ADIF", b"wvpk", b"MAC ", b"caff")
# Second byte of a frame, after 0xFF: MPEG audio layers 2 and 3, ADTS.
_AUDIO_FRAME = tuple(bytes([byte]) for byte in b"\xe2\xe3\xf0\xf1\xf2\xf3\xf4\xf5\xf8\xf9\xfa\xfb\xfc\xfd")
# Major brands of photos in a box of MP4: HEIC and HIF, AVIF, Canon's CR3. (Sequences, such as `avis`, do move.)
_PHOTO_BRANDS = frozenset(
    [
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"hej2",
        b"mif1",
        b"mif2",
        b"miaf",
        b"avif",
        b"MA1A",
        b"MA1B",
        b"jxl ",
        b"crx ",
    ]
)
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"sidx", b"moof")


_INDEXED_MAGIC = (
    b"\x1a\x45\xdf\xa3",
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"nut/multimedia container\x00",
)


def is_indexed(head: bytes) -> bool:
    """Whether these are the first bytes of one of the `SEEKABLE` containers."""
    return head.startswith(_INDEXED_MAGIC) or head[8:12] == b"AVI " or head[4:8] in _MP4_BOXES


def matroska_end(head: bytes) -> int | None:
    """Where the segment of a Matroska or WebM file ends, from its first bytes; None where they do not say."""
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    header = _ebml_size(head, 4)
    if header is None:
        return None
    at = header[1] + header[0]
    size = _ebml_size(head, at + 4) if head[at : at + 4] == b"\x18\x53\x80\x67" else None
    return None if size is None else size[1] + size[0]


def _ebml_size(data: bytes, at: int) -> tuple[int, int] | None:
    """A size of EBML (RFC 8794, 4) and where its number ends; None where it is unknown or does not stand here."""
    if at >= len(data) or not data[at]:
        return None
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return None if at + width > len(data) or value == (1 << 7 * width) - 1 else (value, at + width)


def sniff(path: str | os.PathLike[str]) -> Family | None:
    """What the first 4 KB of a regular file look like; None for anything else. Raises OSError as `open` does.

    "video" is a family of containers: an MP4 may still turn out to hold only sound.
    """
    with open(path, "rb") as file:
        return sniff_bytes(file.read(SNIFF_BYTES))


def sniff_bytes(head: bytes) -> Family | None:
    """`sniff` on the first bytes of a file."""
    if _PLAYLIST.match(head):
        return "playlist"
    if head.startswith(_AUDIO_MAGIC):
        return "audio"
    if head.startswith(b"RIFF"):
        return {b"AVI ": "video", b"WAVE": "audio"}.get(head[8:12])  # type: ignore[return-value]
    if head.startswith(b"OggS"):
        return "video" if re.search(rb"\x80theora|\x01video|BBCD|OVP80", head) else "audio"
    if head[4:8] in _MP4_BOXES or head.startswith(_VIDEO_MAGIC):
        if head[4:8] == b"ftyp" and head[8:12] in _PHOTO_BRANDS:
            return "photo"
        return "audio" if head[4:11] in (b"ftypM4A", b"ftypM4B", b"ftypM4P") else "video"
    if _is_transport_stream(head) or _is_annex_b(head):
        return "video"
    if head[:1] == b"\xff" and head[1:2] in _AUDIO_FRAME:
        return "audio"
    return None


def looks_like_video(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file in a folder is worth trying: it is called a video, or begins like one.

    Music, photos and playlists are not; a video's name on anything else is, so that the damage is told.
    Raises OSError as `open` does.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in VIDEO_SUFFIXES - TEXT_SUFFIXES:
        return True
    if suffix in SOUND_SUFFIXES:
        return False
    with open(path, "rb") as file:
        head = file.read(SNIFF_BYTES)
    return sniff_bytes(head) == "video" or (suffix in TEXT_SUFFIXES and not is_text(head))


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are text (UTF-8, or UTF-16 with a byte order mark), or nothing."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(head) < SNIFF_BYTES or error.start < len(head) - 3:  # else a character that the end cut
            return False
        text = head[: error.start].decode("utf-8")
    return not re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]", text)


def is_unfinished(name: str) -> bool:
    """Whether a file's name says that it is still being downloaded."""
    return os.path.splitext(name)[1].lower() in UNFINISHED_SUFFIXES


def _is_transport_stream(head: bytes) -> bool:
    for packet, first in ((188, 0), (192, 4), (204, 0)):
        sync = head[first : first + packet * 4 + 1 : packet]
        if len(sync) >= 2 and set(sync) == {0x47}:
            return True
    return False


def _is_annex_b(head: bytes) -> bool:
    """Whether this is a bare H.264 (SPS or access unit first) or H.265 (VPS, SPS or access unit first) stream."""
    start = re.match(rb"\x00{2,3}\x01(.)(.)", head, re.DOTALL)
    if not start:
        return False
    first, second = start[1][0], start[2][0]
    return first & 0x9F in (0x07, 0x09) or (first in (0x40, 0x42, 0x46) and second == 0x01)
