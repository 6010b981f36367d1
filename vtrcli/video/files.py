"""What is known of a video: what its file tells without ffmpeg, and `VideoInfo`, which holds what probing finds.

The look at names and first bytes is a cheap filter for folders and gives failures their reason; what decides in the end
is ffmpeg, restricted to `DEMUXERS`. Whether pictures are encrypted ffmpeg does not say: without the key, decoders make
noise from many such files, and their complaints look like damage.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from vtrcli.errors import VideoError

# In the files of `vtr demo`, whose backbone knows nothing else.
DRAWN_COMMENT = "drawn by vtr demo"
_COMMENT_BYTES = 64 * 1024

SNIFF_BYTES = 4096

VIDEO_SUFFIXES = frozenset(
    """
    .3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2ts .m2v .m4v .mj2 .mjpeg .mjpg .mkv .mov
    .mp4 .mpe .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .wtv .y4m
    """.split()
)

# Also what programmers call their sources (TypeScript): such a file is a video unless it is text.
TEXT_SUFFIXES = frozenset([".ts", ".mts"])
_SURE_SUFFIXES = VIDEO_SUFFIXES - TEXT_SUFFIXES

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

DEFAULT_RATE = 25.0

_PLAYLIST = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:#EXTM3U|ffconcat\b|\[playlist\]|\[reference\]|<asx\b|<\?wpl\b|<smil\b"
    rb"|(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:\w+:)?(?:MPD|playlist|SmoothStreamingMedia)\b|v=0\r?\no=)",
    re.IGNORECASE | re.DOTALL,
)
_MATROSKA = b"\x1a\x45\xdf\xa3"  # and WebM
_INDEXED_MAGIC = (
    _MATROSKA,
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"nut/multimedia container\x00",
)
_VIDEO_MAGIC = (
    *_INDEXED_MAGIC,
    b"GIF8",
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG-1/2 video
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
    b".RMF",
    b"DKIF",  # IVF
    b"YUV4MPEG2",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11",  # WTV
    b"\x12\x00\x0a",  # AV1 OBU
)
_AUDIO_MAGIC = (b"ID3", b"fLaC", b"#!AMR", b"MThd", b"ADIF", b"wvpk", b"MAC ", b"caff")
# Second byte of a frame, after 0xFF: MPEG audio layers 2 and 3, ADTS.
_AUDIO_FRAME = tuple(bytes([byte]) for byte in b"\xe2\xe3\xf0\xf1\xf2\xf3\xf4\xf5\xf8\xf9\xfa\xfb\xfc\xfd")
# Major brands of photos in a box of MP4: HEIC and HIF, AVIF, Canon's CR3. (Sequences, such as `avis`, do move.)
_PHOTO_BRANDS = frozenset(
    [*b"heic heix heim heis hej2 mif1 mif2 miaf avif MA1A MA1B".split(), b"jxl ", b"crx "]
)
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"sidx", b"moof")

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


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """One video as its header describes it. `width` x `height` is the displayed size: rotated, square pixels."""

    path: Path
    num_bytes: int
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation_degrees: int  # clockwise, to be applied for display; already in width and height
    stored_width: int = 0  # and height, rotated too, of pixels as they are stored
    stored_height: int = 0
    frames_per_second: float | None  # on average
    duration_seconds: float | None
    is_hdr: bool
    # For the decoder, not for people:
    start_seconds: float
    keyframe_seconds: float | None  # median distance of the first key frames
    has_color_matrix: bool
    is_encrypted: bool
    stream: int = 0  # number of the video stream among all streams
    sound_codec: str | None = None  # of its first sound, None without any
    is_webm: bool = False  # a Matroska file that keeps to what browsers play
    base_rate: float | None = None  # frames per second that all of its times fit, as ffmpeg guesses it
    timecode: str | None = (
        None  # of its first picture, as the camera wrote it: 01:00:00:00, with ; drop-frame
    )
    reel: str | None = None  # the name of the tape or card, where the file tells it
    # From packets, where an index leads to the last ones:
    end_seconds: float | None = None  # when the last picture's time is over; None: not known yet
    is_reordered: bool = True  # pictures may be stored in another order than shown
    lacks_times: bool = False  # the container does not tell when each picture is shown
    has_restarts: bool = False  # it holds several recordings, each with a clock of its own
    may_go_on: bool = False  # its header does not say where it ends: another recording may follow
    # From all packets, where they were read:
    num_pictures: int | None = None
    key_seconds: tuple[float, ...] = ()  # of its key frames, on the container's clock
    is_torn: bool = False  # what stands at its end cannot be read: it opens only when it is read like a pipe

    @property
    def has_sound(self) -> bool:
        """Whether it holds any sound."""
        return self.sound_codec is not None

    @property
    def rate(self) -> float:
        """Frames per second; for streams that tell none, what ffmpeg assumes too."""
        return self.frames_per_second or DEFAULT_RATE

    @property
    def is_counted(self) -> bool:
        """Whether frames have to be counted, since the container does not tell their times: a bare stream, old AVI."""
        return self.lacks_times or self.container in STREAMS_WITHOUT_TIMES | CONSTANT_RATE

    @property
    def can_seek(self) -> bool:
        """Whether an index leads to a time, and the time to a picture."""
        return self.container in SEEKABLE and not (self.is_counted or self.has_restarts or self.is_torn)

    @property
    def zero_seconds(self) -> float:
        """What the container's clock shows where the video begins."""
        return 0.0 if self.is_counted else self.start_seconds


def check_file(path: str | os.PathLike[str]) -> os.stat_result:
    """The state of a regular, readable, non-empty file. Raises VideoError for anything else; never blocks."""
    name = os.fspath(path)
    try:
        state = os.stat(path)
    except PermissionError as error:
        raise VideoError("no-permission", error.strerror or "no access", path=name) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        detail = getattr(error, "strerror", None) or str(error)
        raise VideoError("not-found", detail, path=name) from error
    if not stat.S_ISREG(state.st_mode):
        raise VideoError("not-a-file", _kind(state.st_mode), path=name)
    if not os.access(path, os.R_OK):
        raise VideoError("no-permission", "it cannot be opened for reading", path=name)
    if state.st_size == 0:
        raise VideoError("empty", "it has 0 bytes", path=name)
    return state


def read_head(path: str | os.PathLike[str], num_bytes: int) -> bytes:
    """The first bytes of a file that `check_file` has passed. Raises VideoError where the disk does not give them."""
    try:
        with open(path, "rb") as file:
            return file.read(num_bytes)
    except PermissionError as error:
        raise VideoError("no-permission", error.strerror or "no access", path=os.fspath(path)) from error
    except FileNotFoundError as error:
        raise VideoError("not-found", error.strerror or "it is gone", path=os.fspath(path)) from error
    except OSError as error:
        raise VideoError("corrupt", error.strerror or str(error), path=os.fspath(path)) from error


def check_unchanged(path: str | os.PathLike[str], before: os.stat_result) -> None:
    """Raises VideoError("changed") when size, time or identity differ from `before`."""
    after = check_file(path)
    same = ("st_size", "st_mtime_ns", "st_ino", "st_dev")
    if any(getattr(after, name) != getattr(before, name) for name in same):
        raise VideoError("changed", "its size or time changed during decoding", path=os.fspath(path))


def is_drawn(path: str | os.PathLike[str]) -> bool:
    """Whether `vtr demo` made the file. Raises OSError as `open` does."""
    with open(path, "rb") as file:
        return DRAWN_COMMENT.encode() in file.read(_COMMENT_BYTES)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "it is a folder",
        stat.S_IFIFO: "it is a FIFO",
        stat.S_IFSOCK: "it is a socket",
        stat.S_IFCHR: "it is a device",
        stat.S_IFBLK: "it is a device",
    }
    return kinds.get(stat.S_IFMT(mode), "it is not a regular file")


Family = Literal["video", "audio", "playlist", "photo"]


def is_indexed(head: bytes) -> bool:
    """Whether these are the first bytes of one of the `SEEKABLE` containers."""
    return head.startswith(_INDEXED_MAGIC) or head[8:12] == b"AVI " or head[4:8] in _MP4_BOXES


def is_webm(head: bytes) -> bool:
    """Whether the first bytes of a file name its type WebM (RFC 9559: DocType, in the EBML header)."""
    return head.startswith(_MATROSKA) and b"\x42\x82\x84webm" in head[:64]


def matroska_end(head: bytes) -> int | None:
    """Where the segment of a Matroska or WebM file ends, from its first bytes; None where they do not say."""
    if not head.startswith(_MATROSKA):
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
    if suffix in _SURE_SUFFIXES:
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
