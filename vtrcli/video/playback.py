"""How a browser gets to play a video: the file as it is, its pictures repacked, or all of it encoded anew.

Decided for what every current browser plays, not for the one that asks: what only some play (HEVC, Matroska) is
converted for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from vtrcli.errors import VideoError
from vtrcli.video import encode
from vtrcli.video.child import Child, Patience, Session
from vtrcli.video.encode import Container, Encoders, Way
from vtrcli.video.ffmpeg import NO_REASON, decode_failure, first_complaint
from vtrcli.video.files import VideoInfo

Kind = Literal["direct", "remux", "transcode", "none"]

# Per codec the pixel formats that are decoded everywhere.
_PIXELS = {
    "h264": frozenset(["yuv420p", "yuvj420p"]),
    "vp8": frozenset(["yuv420p", "yuva420p"]),
    "vp9": frozenset(["yuv420p", "yuva420p", "yuv420p10le"]),
    "av1": frozenset(["yuv420p", "yuv420p10le"]),
}
_SOUNDS: dict[Container, frozenset[str]] = {
    "mp4": frozenset(["aac", "mp3", "opus", "flac"]),
    "webm": frozenset(["opus", "vorbis"]),
}
# What Media Source Extensions take in MP4. (In WebM blocks of all tracks have to be in order of time, which ffmpeg
# does not see to with Opus.) The sound of other containers does not tell in time what its decoder has to know.
_REPACKED = frozenset(["h264", "vp9", "av1"])
_COPIED = {"aac": "mp4a.40.2", "opus": "opus", "flac": "flac"}
_COPIED_FROM = frozenset(["mov", "matroska", "flv"])
_MEDIA_TYPES = {
    "mov": "video/mp4",
    "matroska": "video/x-matroska",
    "avi": "video/x-msvideo",
    "asf": "video/x-ms-wmv",
    "mpegts": "video/mp2t",
    "mpeg": "video/mpeg",
    "flv": "video/x-flv",
    "ogg": "video/ogg",
    "gif": "image/gif",
}
# Containers in which ffmpeg finds about a time without an index of theirs.
_NEAR = frozenset("avi mpegts mpeg mxf wtv ogg rm".split())
# So much is decoded for nothing, where the way is exact then; what comes later is sought.
_WHOLE_SECONDS = 20.0
# A stream may keep its viewer waiting so long in all, and so much longer per second of video.
STREAM_SECONDS, STREAM_SECONDS_PER_SECOND = 60.0, 2.0
_UNKNOWN_SECONDS = 4 * 3600.0
NICENESS = 5
PIECE_BYTES = 1 << 18
_HEAD_BYTES = 8 << 20
_FIRST_PIECE = {"mp4": b"moof", "webm": b"\x1f\x43\xb6\x75"}


@dataclass(frozen=True, kw_only=True)
class Playback:
    """How a video is played. `reason` says in words why it is not the file itself, or why it cannot be played.

    `container` is what a stream is made as; of a "remux" `keeps_sound` says whether its sound is copied too.
    """

    kind: Kind
    reason: str = ""
    container: Container | None = None
    keeps_sound: bool = False


def playback(info: VideoInfo, *, encoders: frozenset[str], convert: bool = False) -> Playback:
    """What is done with a video so that a browser plays it.

    Args:
        encoders: names of those that the ffmpeg has (`encode.encoder_names()`).
        convert: though it should play as it is: some browser did not.
    """
    if info.is_encrypted:
        return Playback(kind="none", reason="its pictures are encrypted and there is no key")
    reason = _why_not_pictures(info)
    if reason is None:
        reason = _why_not_file(info)
        if reason is None and not convert:
            return Playback(kind="direct")
        keeps_sound = info.sound_codec in _COPIED and info.container in _COPIED_FROM
        is_heard = not info.has_sound or keeps_sound or encode.sound_encoder("mp4", encoders) is not None
        if not convert and is_heard and _can_be_repacked(info):
            return Playback(kind="remux", reason=reason or "", container="mp4", keeps_sound=keeps_sound)
    chosen = encode.encoders_of(encoders)
    if chosen is None:
        return Playback(kind="none", reason=f"{reason}, and this ffmpeg has no encoder that they do play")
    return Playback(
        kind="transcode", reason=reason or "this browser does not play it", container=chosen.container
    )


def media_type(info: VideoInfo) -> str:
    """The type of the file itself, as HTTP calls it, by its content. QuickTime is said to be MP4, which it nearly is:
    browsers refuse the one and play the other."""
    if info.is_webm:
        return "video/webm"
    return _MEDIA_TYPES.get(info.container, "application/octet-stream")


class Stream:
    """A running ffmpeg that makes a video playable from a time on, as fast as its pieces are taken.

    `media_type` names the codecs, as Media Source Extensions want to know them. Time t of the video is t +
    `encode.STREAM_LEAD_SECONDS` in the stream. `kill` may be called from any thread; all else from one at a time.
    """

    def __init__(
        self, session: Session, child: Child, ending: ExitStack, head: bytes, media_type: str
    ) -> None:
        self._session, self._child, self._ending = session, child, ending
        self._head = head
        self.media_type = media_type

    def read(self) -> bytes:
        """The next piece, waiting for it; empty at the end, also when it was killed."""
        head, self._head = self._head, b""
        return head or self._child.read_some(PIECE_BYTES)

    def is_whole(self) -> bool:
        """After the end: whether ffmpeg came to it by itself, and found nothing that stopped it."""
        return self._child.wait() == 0

    def kill(self) -> None:
        """Ends ffmpeg."""
        self._session.close()

    def close(self) -> None:
        """Ends ffmpeg, waits for its end and frees what it held."""
        self._session.close()
        self._ending.close()


def open_stream(info: VideoInfo, how: Playback, *, start_seconds: float) -> Stream:
    """Start to repack or to encode a video from a time on; returns when the first piece is there.

    A repacked stream begins at the key frame before that time. What cannot be repacked is encoded, and sound that
    cannot be decoded is left out.

    Raises:
        VideoError: nothing of it can be played from there.
        InputError: ffmpeg cannot be started.
    """
    log, status = b"", 0
    for command, media in _attempts(info, how, start_seconds):
        length = _UNKNOWN_SECONDS if info.duration_seconds is None else info.duration_seconds
        patience = Patience(STREAM_SECONDS + STREAM_SECONDS_PER_SECOND * length)
        session = Session(info.path, patience)
        ending = ExitStack()
        child = ending.enter_context(session.run(command, niceness=NICENESS))
        try:
            head = _head_of(child, media)
            if head:
                return Stream(session, child, ending, head, _type_of(info, media, head))
            status, log = child.wait(), child.log
        except BaseException:
            ending.close()
            raise
        ending.close()
        session.check_time()
    reason = decode_failure(log, status, is_encrypted=info.is_encrypted)
    nothing = f"nothing of it lies at {start_seconds:g} s and after" if status == 0 else NO_REASON
    raise VideoError(reason, first_complaint(log) or nothing, path=os.fspath(info.path))


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What an attempt makes: its container, and codecs of pictures and sound (None: without)."""

    container: Container
    video: str
    sound: str | None


def _attempts(info: VideoInfo, how: Playback, start_seconds: float) -> Iterator[tuple[list[str], _Made]]:
    names = encode.encoder_names()
    if how.kind == "remux":
        yield _remuxed(info, how, start_seconds, names)
    encoders = encode.encoders_of(names)
    if encoders is None:
        return
    with_sound = info.has_sound and bool(encoders.sound)
    for way in _ways(info, start_seconds):
        for is_heard in (True, False) if with_sound else (False,):
            command = encode.transcode_command(
                info, start_seconds=start_seconds, way=way, encoders=encoders, with_sound=is_heard
            )
            yield command, _encoded(encoders, with_sound=is_heard)


def _remuxed(
    info: VideoInfo, how: Playback, start_seconds: float, names: frozenset[str]
) -> tuple[list[str], _Made]:
    encoder = encode.sound_encoder("mp4", names)
    sound: dict[str, Any] | None = None
    codec = None
    if info.has_sound and how.keeps_sound:
        sound, codec = {}, info.sound_codec
    elif info.has_sound and encoder is not None:
        sound, codec = encoder, encoder["c:a"].removeprefix("lib")
    command = encode.remux_command(
        info,
        start_seconds=start_seconds,
        way="seek" if info.can_seek else "near",
        sound=sound,
    )
    return command, _Made(container="mp4", video=info.codec, sound=codec)


def _encoded(encoders: Encoders, *, with_sound: bool) -> _Made:
    video = "h264" if encoders.container == "mp4" else "vp8"
    sound = encoders.sound["c:a"].removeprefix("lib") if with_sound else None
    return _Made(container=encoders.container, video=video, sound=sound)


def _ways(info: VideoInfo, start_seconds: float) -> tuple[Way, ...]:
    """To a time: what to try, in this order."""
    if start_seconds <= 0:
        return ("whole",)
    if info.can_seek:
        return ("seek", "whole")
    can_be_near = info.container in _NEAR and not (info.has_restarts or info.is_torn)
    return ("near", "whole") if can_be_near and start_seconds > _WHOLE_SECONDS else ("whole",)


def _head_of(child: Child, made: _Made) -> bytes:
    """The header and the begin of the first piece of video; empty where nothing of the kind came."""
    head, mark = bytearray(), _FIRST_PIECE[made.container]
    while mark not in head and len(head) < _HEAD_BYTES:
        piece = child.read_some(PIECE_BYTES)
        if not piece:
            return b""
        head += piece
    return bytes(head)


def _type_of(info: VideoInfo, made: _Made, head: bytes) -> str:
    """RFC 6381's name of what is in a stream."""
    depth = "10" if info.pixel_format == "yuv420p10le" else "08"
    if made.video == "vp9":
        video = f"vp09.{'02' if depth == '10' else '00'}.40.{depth}"
    elif made.video == "av1":
        video = f"av01.0.08M.{depth}"
    elif made.video == "h264":
        # AVCDecoderConfigurationRecord (ISO 14496-15): version, profile, compatibility, level.
        at = head.find(b"avcC")
        video = f"avc1.{head[at + 5 : at + 8].hex() if at >= 0 else '640028'}"
    else:
        video = made.video
    sound = made.sound if made.sound is None else _COPIED.get(made.sound, made.sound)
    return f'video/{made.container}; codecs="{", ".join(filter(None, (video, sound)))}"'


def _why_not_pictures(info: VideoInfo) -> str | None:
    known = _PIXELS.get(info.codec)
    if known is None:
        return f"browsers do not play {info.codec}"
    if info.pixel_format not in known:
        return f"browsers do not play {info.codec} with {info.pixel_format} pixels"
    return None


def _why_not_file(info: VideoInfo) -> str | None:
    if info.is_torn or info.has_restarts:
        return "browsers stop where the file is cut or begins anew"
    if info.container == "mov":
        is_heard = info.sound_codec is None or info.sound_codec in _SOUNDS["mp4"]
    elif info.is_webm:
        if info.duration_seconds is None or info.may_go_on:
            return "the file does not tell its length"
        is_heard = info.sound_codec is None or info.sound_codec in _SOUNDS["webm"]
    else:
        return f"browsers do not open {info.container} files"
    return None if is_heard else f"browsers do not play {info.sound_codec} sound"


def _can_be_repacked(info: VideoInfo) -> bool:
    if info.codec not in _REPACKED or info.is_counted or info.has_restarts or info.is_torn:
        return False
    return info.can_seek or info.container in _NEAR
