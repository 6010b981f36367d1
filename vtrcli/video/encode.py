"""The ffmpeg command lines that encode or repack for people: a clip as a file, and a stream for a browser.

What is in a picture (turned, square pixels, standard dynamic range) is `vtrcli.video.graph`'s.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from dataclasses import dataclass, field
from typing import Any, Literal

import ffmpeg

from vtrcli.video import graph
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.files import VideoInfo

_TARGET_PLACE = "<the clip>"
# Frames per second of a clip: players stumble over less, screens show no more.
_MIN_CLIP_RATE, _MAX_CLIP_RATE = 1.0, 60.0
_CLIP_THREADS = 2
# Nothing of what the source says about itself (place, device, names) comes along.
_SILENT: dict[str, Any] = {"map_metadata": -1, "map_metadata:s": -1, "map_chapters": -1}
# Visually the source on a screen, at about 35 frames/s of 1080p on one core; plays everywhere, from its first bytes on.
_CLIP_OPTIONS: dict[str, Any] = {
    "f": "mp4",
    "c:v": "libx264",
    "preset": "veryfast",
    "crf": 20,
    "c:a": "aac",
    "b:a": "128k",
    "ac": 2,
    "movflags": "+faststart",
    **_SILENT,
}
_YUV = ("yuv", "nv", "p0", "p2", "p4", "gray")

# A stream made for a browser: bounded, so that one viewer costs about one core.
STREAM_SIDE = 1280
_STREAM_RATE = 30.0
_STREAM_THREADS = 2
_KEY_SECONDS = 2
# The time 0 of a stream is so long before that of its video: where pictures are stored in another order than shown,
# the first ones are decoded before time 0, which fragments cannot express.
STREAM_LEAD_SECONDS = 10.0
# Where no index leads to a time, what is read begins so long before it: a key frame lies between, as a rule.
NEAR_SECONDS = 10.0
# Pieces of so many microseconds leave ffmpeg one by one; times in them are the stream's, not counted from the first.
_FRAGMENTS: dict[str, Any] = {
    "f": "mp4",
    "movflags": "+empty_moov+default_base_moof+frag_discont",
    "use_editlist": 0,
    "frag_duration": 500_000,
    "avoid_negative_ts": "disabled",
}
_CLUSTERS: dict[str, Any] = {
    "f": "webm",
    "live": 1,
    "cluster_time_limit": 500,
    "avoid_negative_ts": "disabled",
}
_VERSION_SECONDS = 20.0

Way = Literal["seek", "near", "whole"]  # to a time: by the index, to about there, or through all before it
Container = Literal["mp4", "webm"]


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """What one ffmpeg makes for browsers: the container and the options of its encoders."""

    container: Container
    video: dict[str, Any] = field(hash=False)
    sound: dict[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        """The video encoder, as ffmpeg calls it."""
        return str(self.video["c:v"])


_AAC = {"c:a": "aac", "b:a": "128k", "ac": 2}
_OPUS = {"c:a": "libopus", "b:a": "96k", "ac": 2}
_VORBIS = {"c:a": "libvorbis", "q:a": 4, "ac": 2}
# In order of choice. Bit rates are limits: a stream must come through while it is watched. No B-frames: the first
# picture is out sooner.
_VIDEO_ENCODERS: tuple[tuple[Container, dict[str, Any]], ...] = (
    (
        "mp4",
        {"c:v": "libx264", "preset": "veryfast", "crf": 23, "maxrate": "4M", "bufsize": "8M", "bf": 0}
        | {"rc-lookahead": 10, "profile:v": "high"},
    ),
    ("mp4", {"c:v": "libopenh264", "b:v": "2500k", "maxrate": "4M", "profile:v": "high"}),
    ("webm", {"c:v": "libvpx", "deadline": "realtime", "cpu-used": 8, "b:v": "2M", "auto-alt-ref": 0}),
)
_SOUND_ENCODERS: dict[Container, tuple[dict[str, Any], ...]] = {"mp4": (_AAC,), "webm": (_VORBIS, _OPUS)}


def clip_command(
    info: VideoInfo,
    target: str | os.PathLike[str],
    *,
    start_seconds: float,
    duration_seconds: float,
    longest_side: int,
    may_seek: bool,
    with_sound: bool,
) -> list[str]:
    """Writes an MP4 over `target`: H.264 in yuv420p with even sides, AAC for sound; progress on standard output.

    Picture and sound come from one input, on one clock: the picture begins with the frame on display at the start,
    which may have appeared long before; the sound begins exactly there, with silence where there is none yet.
    """
    source = graph.beginning(info, start_seconds, may_seek=may_seek, num_threads=_CLIP_THREADS)
    rate = min(max(info.rate, _MIN_CLIP_RATE), _MAX_CLIP_RATE)
    streams = [
        _picture(source, info, start_seconds, duration_seconds, rate=rate, longest_side=longest_side),
        *([_sound(source, info, start_seconds, duration_seconds)] if with_sound else []),
    ]
    output = ffmpeg.output(*streams, _TARGET_PLACE, threads=_CLIP_THREADS, **_CLIP_OPTIONS)
    command = graph.command(info.path, output, "-y", *graph.PROGRESS, "-copyts")
    return [graph.url(target) if argument == _TARGET_PLACE else argument for argument in command]


def transcode_command(
    info: VideoInfo, *, start_seconds: float, way: Way, encoders: Encoders, with_sound: bool
) -> list[str]:
    """Encodes a video from a time to its end, for standard output: fragmented MP4, or WebM.

    What a picture's time is in the stream is its time in the video and `STREAM_LEAD_SECONDS`. The first one is that on
    display at the start.
    """
    if way == "near":
        begin = max(0.0, start_seconds - NEAR_SECONDS)
        source = graph.input_of(ss=f"{begin:.6f}", noaccurate_seek=None, **graph.decoder(_STREAM_THREADS))
    else:
        source = graph.beginning(info, start_seconds, may_seek=way == "seek", num_threads=_STREAM_THREADS)
    rate = min(max(info.rate, _MIN_CLIP_RATE), _STREAM_RATE)
    streams = [
        _picture(source, info, start_seconds, None, rate=rate, longest_side=STREAM_SIDE),
        *([_sound(source, info, start_seconds, None)] if with_sound else []),
    ]
    form = _FRAGMENTS if encoders.container == "mp4" else _CLUSTERS
    options = {
        **form,
        **encoders.video,
        "g": round(_KEY_SECONDS * rate),
        "threads": _STREAM_THREADS,
        **_SILENT,
    }
    options |= encoders.sound if with_sound else {}
    shift = f"{start_seconds + STREAM_LEAD_SECONDS:.6f}"
    output = ffmpeg.output(*streams, "pipe:1", output_ts_offset=shift, **options)
    return graph.command(info.path, output, "-copyts")


def remux_command(
    info: VideoInfo, *, start_seconds: float, way: Way, sound: dict[str, Any] | None
) -> list[str]:
    """Repacks the pictures of a video as they are, from the key frame before a time to its end, for standard output.

    Times as in `transcode_command`. `sound`: options of an encoder, of which none copies it; None leaves it out.
    """
    begin = start_seconds if way == "seek" else max(0.0, start_seconds - NEAR_SECONDS)
    # Not even to 0: FLV would begin at its second key frame.
    sought = {"ss": graph.seek_time(info, begin), "noaccurate_seek": None} if begin > 0 else {}
    source = graph.input_of(**sought)
    streams = [source[str(info.stream)], *([] if sound is None else [source["a:0"]])]
    copied: dict[str, Any] = {"c:v": "copy"}
    if sound is not None:
        copied |= sound or {"c:a": "copy"}
    shift = f"{STREAM_LEAD_SECONDS - info.zero_seconds:.6f}"
    output = ffmpeg.output(*streams, "pipe:1", output_ts_offset=shift, **_FRAGMENTS, **copied, **_SILENT)
    return graph.command(info.path, output, "-copyts")


def encoders_of(names: frozenset[str]) -> Encoders | None:
    """The best for browsers of what an ffmpeg has; None where it has nothing that they play."""
    for container, video in _VIDEO_ENCODERS:
        sounds = [sound for sound in _SOUND_ENCODERS[container] if sound["c:a"] in names]
        if video["c:v"] in names:
            return Encoders(container=container, video=video, sound=sounds[0] if sounds else {})
    return None


def sound_encoder(container: Container, names: frozenset[str]) -> dict[str, Any] | None:
    """Options of the encoder for sound beside pictures that are copied; None where there is none."""
    return next((sound for sound in _SOUND_ENCODERS[container] if sound["c:a"] in names), None)


def encoder_names() -> frozenset[str]:
    """The encoders that the ffmpeg has which is used. Raises InputError where there is no ffmpeg."""
    return _encoder_names(ffmpeg_binary())


@functools.cache
def _encoder_names(binary: str) -> frozenset[str]:
    try:
        done = subprocess.run(
            [binary, "-hide_banner", "-encoders"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(
        match[1].decode() for match in re.finditer(rb"^ [VAS][.FSXBD]{5} ([\w-]+)", done.stdout, re.MULTILINE)
    )


def _picture(
    source: Any,
    info: VideoInfo,
    start_seconds: float,
    duration_seconds: float | None,
    *,
    rate: float,
    longest_side: int,
) -> Any:
    stream = graph.grid(
        source[str(info.stream)], start_seconds=info.zero_seconds + start_seconds, rate=f"{rate:g}"
    )
    if duration_seconds is not None:
        stream = stream.filter("trim", duration=f"{duration_seconds:.6f}")
    share = graph.shrinking(longest_side)
    width, height = f"max(2,2*round(iw*sar*{share}/2))", f"max(2,2*round(ih*{share}/2))"
    stream = graph.scaled(graph.narrowed(stream), info, width=width, height=height, colors=_colors(info))
    return stream.filter("format", "yuv420p").filter("setsar", 1)


def _sound(source: Any, info: VideoInfo, start_seconds: float, duration_seconds: float | None) -> Any:
    sound = source["a:0"].filter("asetpts", f"PTS-({info.zero_seconds + start_seconds:.6f}/TB)")
    end = {} if duration_seconds is None else {"end": f"{duration_seconds:.6f}"}
    # async=1 fills gaps with silence and cuts what overlaps: the sound keeps its times.
    return sound.filter("atrim", start=0, **end).filter("aresample", **{"async": 1, "first_pts": 0})


def _colors(info: VideoInfo) -> dict[str, str]:
    """The source's own matrix where it has one (ffmpeg writes it down): another one costs as much as the encoder."""
    is_kept = info.pixel_format.startswith(_YUV) and not info.is_hdr and not graph.needs_matrix(info)
    return {"out_range": "limited"} if is_kept else {"out_range": "limited", "out_color_matrix": "bt709"}
