"""The ffmpeg command lines. ffmpeg-python writes the filter graphs; this module decides what is in them.

Every input is opened as `file:` + absolute path, by one of the white-listed demuxers and by no protocol but
`file`, so no name and no content can make ffmpeg open anything else.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ffmpeg

from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.formats import DEMUXERS

if TYPE_CHECKING:
    from vtrcli.video.probe import VideoInfo

MAX_PIXELS = 134_217_728
# Nothing wider is scaled: the crop keeps the middle square anyway, and a 4000 x 1 picture stays small.
MAX_ASPECT = 8
# Time base of the times that ffmpeg reports for its output, 1 / this.
MICROSECONDS = 1_000_000
# Frames per second of streams that tell none; what ffmpeg assumes too.
DEFAULT_RATE = 25.0
# Pillow's (and so torchvision's and CLIP's) bicubic kernel has a = -0.5: B = 0, C = 0.5 in ffmpeg's terms.
_SCALER = {"flags": "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp", "param0": 0, "param1": 0.5}
# Diffuse white of HDR material (ITU-R BT.2408), shown as white. Below half of it nothing is changed, above it
# highlights are compressed; the often copied npl=100 with hable shows the same white as mid-grey.
_HDR_WHITE_NITS = 203
# Stands for the file while ffmpeg-python handles it: that one cannot take a name that is not UTF-8.
_PLACE = "<the file>"
_TARGET_PLACE = "<the clip>"
# The first video stream that is no cover picture.
_VIDEO = "V:0"
# Frames per second of a clip: players stumble over less, screens show no more.
_MIN_CLIP_RATE, _MAX_CLIP_RATE = 1.0, 60.0
# Visually the source on a screen, at about 35 frames/s of 1080p on one core; plays everywhere, from its first bytes on.
# Nothing of what the source says about itself (place, device, names) comes along.
_CLIP_OPTIONS: dict[str, Any] = {
    "f": "mp4",
    "c:v": "libx264",
    "preset": "veryfast",
    "crf": 20,
    "c:a": "aac",
    "b:a": "128k",
    "ac": 2,
    "movflags": "+faststart",
    "map_metadata": -1,
    "map_metadata:s": -1,
    "map_chapters": -1,
}
_YUV = ("yuv", "nv", "p0", "p2", "p4", "gray")
_KEY_PACKETS = 64
_KEY_PACKET_SECONDS = 30


def url(path: str | os.PathLike[str]) -> str:
    """The one way a path is given to ffmpeg: never an option, a protocol, a pattern or a list."""
    return "file:" + os.path.abspath(os.fspath(path))


def probe_command(path: str | os.PathLike[str]) -> list[str]:
    """Describes the file on standard error and lists its first key packets on standard output (framecrc)."""
    source = _input(**{"discard:v": "nokey"})
    limits = {"frames:v": _KEY_PACKETS, "t": _KEY_PACKET_SECONDS}
    return _command(path, ffmpeg.output(source[_VIDEO], "pipe:1", c="copy", f="framecrc", **limits))


def measure_command(info: VideoInfo) -> list[str]:
    """Reads the whole file; ffmpeg's progress report ends with the time, and with the count of decoded frames.

    Undecoded where there are time stamps; a bare stream's frames have to be counted.
    """
    options = {"c": "copy"} if info.has_times else {"fps_mode": "passthrough"}
    return _to_nowhere(info, _input()[_VIDEO], **options)


def count_keyframes_command(info: VideoInfo) -> list[str]:
    """Decodes the key frames and nothing else; the progress report ends with their number."""
    return _to_nowhere(info, _keyframe_input(info, num_threads=1), fps_mode="passthrough")


def linear_command(
    info: VideoInfo, *, first_seconds: float, step_seconds: float, size: int, num_threads: int, report: str
) -> list[str]:
    """One pass; per grid time `first_seconds + k * step_seconds` the frame on display, as rgb24 size x size."""
    options: dict[str, Any] = {} if info.has_times else {"r": info.frames_per_second or DEFAULT_RATE}
    stream = _input(**_decoder(num_threads), **options)[_VIDEO]
    stream = _grid(stream, start_seconds=first_seconds, rate=_rate(step_seconds))
    return _raw_frames(info, _sized(stream, info, size), report)


def seek_command(
    info: VideoInfo, *, targets_seconds: Sequence[float], size: int, num_threads: int, report: str
) -> list[str]:
    """One input per target, each decoded from the key frame before it, merged in order of time.

    The same rule as `linear_command`: a grid so fine that the first frame after the target fills the
    second slot, which ends the input at once.
    """
    # An MP4's index tells all that reading ahead would find out; that costs 3 ms per input.
    options: dict[str, Any] = {"nofind_stream_info": None} if info.container == "mov" else {}
    branches = []
    for target in targets_seconds:
        source = _input(ss=f"{target:.6f}", noaccurate_seek=None, **options, **_decoder(num_threads))
        branch = _grid(source[_VIDEO], start_seconds=info.start_seconds + target, rate=str(MICROSECONDS))
        branch = branch.filter("trim", end_frame=1).filter("setpts", f"PTS+{round(target * MICROSECONDS)}")
        branches.append(_sized(branch, info, size))
    merged = (
        branches[0] if len(branches) == 1 else ffmpeg.filter(branches, "interleave", nb_inputs=len(branches))
    )
    # copyts: times stay those of the file, or each input would count from its own target.
    return _raw_frames(info, merged, report, "-copyts")


def keyframes_command(
    info: VideoInfo, *, keep: tuple[int, int] | None, size: int, num_threads: int, report: str
) -> list[str]:
    """Key frames only; `keep` = (m, n) takes m of every n of them, evenly. The demuxer skips the others unread."""
    stream = _keyframe_input(info, num_threads=num_threads)
    if keep:
        kept, total = keep
        stream = stream.filter("select", f"gt(floor((n+1)*{kept}/{total}),floor(n*{kept}/{total}))")
    return _raw_frames(info, _sized(stream, info, size), report)


def picture_command(info: VideoInfo, *, seconds: float, longest_side: int, may_seek: bool) -> list[str]:
    """The frame on display at one time, whole and never enlarged, as a PPM on standard output."""
    source = _input(**_beginning(info, seconds, may_seek=may_seek), **_decoder(1))
    # The same grid as in `seek_command`; times count from the target already where the input begins there.
    stream = _grid(source[_VIDEO], start_seconds=0 if may_seek else seconds, rate=str(MICROSECONDS))
    stream = stream.filter("trim", end_frame=1)
    share = _share(longest_side)
    width, height = f"max(1,round(iw*sar*{share}))", f"max(1,round(ih*{share}))"
    stream = _scaled(stream, info, width=width, height=height).filter("format", "rgb24")
    return _command(info.path, ffmpeg.output(stream, "pipe:1", f="image2pipe", **{"c:v": "ppm"}))


def clip_command(
    info: VideoInfo,
    target: str | os.PathLike[str],
    *,
    start_seconds: float,
    duration_seconds: float,
    longest_side: int,
    num_threads: int,
    may_seek: bool,
    with_sound: bool,
) -> list[str]:
    """Writes an MP4 over `target`: H.264 in yuv420p with even sides, AAC for sound; progress on standard output.

    The file is opened twice: the picture begins with the frame on display at the start, which may have appeared long
    before; the sound begins exactly there.
    """
    source = _input(**_beginning(info, start_seconds, may_seek=may_seek), **_decoder(num_threads))
    rate = min(max(info.frames_per_second or DEFAULT_RATE, _MIN_CLIP_RATE), _MAX_CLIP_RATE)
    stream = _grid(source[_VIDEO], start_seconds=0 if may_seek else start_seconds, rate=f"{rate:g}")
    stream = stream.filter("trim", duration=f"{duration_seconds:.6f}")
    share = _share(longest_side)
    width, height = f"max(2,2*round(iw*sar*{share}/2))", f"max(2,2*round(ih*{share}/2))"
    stream = _scaled(stream, info, width=width, height=height, **_clip_colors(info))
    stream = stream.filter("format", "yuv420p")
    streams = [stream.filter("setsar", 1)]
    if with_sound:
        sound = _input(ss=f"{start_seconds:.6f}", t=f"{duration_seconds:.6f}", vn=None)
        streams.append(sound["a:0?"])
    output = ffmpeg.output(*streams, _TARGET_PLACE, threads=num_threads, **_CLIP_OPTIONS)
    command = _command(info.path, output, "-y", "-progress", "pipe:1", "-stats_period", "3600")
    return [url(target) if argument == _TARGET_PLACE else argument for argument in command]


def _clip_colors(info: VideoInfo) -> dict[str, str]:
    """The source's own matrix where it has one (ffmpeg writes it down): another one costs as much as the encoder."""
    is_kept = info.pixel_format.startswith(_YUV) and not info.is_hdr and not needs_matrix(info)
    return {"out_range": "limited"} if is_kept else {"out_range": "limited", "out_color_matrix": "bt709"}


def _beginning(info: VideoInfo, seconds: float, *, may_seek: bool) -> dict[str, Any]:
    """Options of an input that is read from the key frame before a time, or from its begin."""
    if may_seek:
        return {"ss": f"{seconds:.6f}", "noaccurate_seek": None}
    return {} if info.has_times else {"r": info.frames_per_second or DEFAULT_RATE}


def _share(longest_side: int) -> str:
    """The factor that makes the longer side of a picture so long, or leaves a smaller picture as it is."""
    return f"min(1,{longest_side}/max(iw*sar,ih))"


def _keyframe_input(info: VideoInfo, *, num_threads: int) -> Any:
    if info.has_times:
        source = _input(skip_frame="nokey", **{"discard:v": "nokey"}, **_decoder(num_threads))
        return source[_VIDEO]
    # Times are counted, so every frame has to be decoded.
    source = _input(r=info.frames_per_second or DEFAULT_RATE, **_decoder(num_threads))
    return source[_VIDEO].filter("select", "key")


def _input(**options: Any) -> Any:
    return ffmpeg.input(_PLACE, protocol_whitelist="file", format_whitelist=DEMUXERS, **options)


def _decoder(num_threads: int) -> dict[str, Any]:
    return {"threads": num_threads, "max_pixels": MAX_PIXELS}


def _grid(stream: Any, *, start_seconds: float, rate: str) -> Any:
    """Per slot k (output time k / rate) the frame on display at `start_seconds` + k / rate.

    `fps` with round=up gives a frame of time p the slot ceil((p - start) * rate) and lets a later frame of the
    same slot replace it: what comes out for a slot is the last frame at or before its time. The start is moved
    to 0 in microseconds, because `fps` rounds a start of its own to a whole slot at the end of the stream;
    one microsecond is added so that a frame exactly at a time is not missed by rounding.
    """
    shift = math.ceil(start_seconds * MICROSECONDS) + 1
    return (
        stream.filter("settb", "AVTB")
        .filter("setpts", f"PTS-{shift}")
        .filter("fps", fps=rate, start_time=0, round="up")
    )


def _rate(step_seconds: float) -> str:
    """1 / step as the ratio of two integers that ffmpeg accepts, off by less than 1e-12 of a second per step."""
    rate = min(Fraction(1_000_000), 1 / Fraction(step_seconds))
    ratio = rate.limit_denominator(int(1_000_000 / max(1.0, float(rate))))
    return f"{ratio.numerator}/{ratio.denominator}"


def needs_matrix(info: VideoInfo) -> bool:
    """Whether BT.709 has to be named, as players guess for large pictures; swscale would take BT.601 for any size."""
    return not info.has_color_matrix and (info.width >= 1280 or info.height > 576)


def _sized(stream: Any, info: VideoInfo, size: int) -> Any:
    """As torchvision's Resize(size, bicubic) + CenterCrop(size), on square pixels, in standard dynamic range."""
    short_first = "lt(iw*sar,ih)"
    limit = MAX_ASPECT * size
    stream = _scaled(
        stream,
        info,
        width=f"if({short_first},{size},min({limit},trunc({size}*iw*sar/ih)))",
        height=f"if({short_first},min({limit},trunc({size}*ih/(iw*sar))),{size})",
    )
    # torchvision rounds the offset half to even
    x, y = (f"(({d}-{size})+eq(mod({d}-{size},4),3)-eq(mod({d}-{size},4),1))/2" for d in ("iw", "ih"))
    return stream.filter("format", "rgb24").filter("crop", size, size, x, y)


def _scaled(stream: Any, info: VideoInfo, *, width: str, height: str, **colors: str) -> Any:
    """To a size in square pixels and to standard dynamic range; nothing wider than `MAX_ASPECT`.

    `colors` are options of the scaler for what comes out, where that is not RGB.
    """
    stream = stream.filter(
        "crop", f"max(1,min(iw,{MAX_ASPECT}*ih/sar))", f"max(1,min(ih,{MAX_ASPECT}*iw*sar))", exact=1
    )
    options: dict[str, Any] = dict(_SCALER)
    if needs_matrix(info):
        options["in_color_matrix"] = "bt709"
    if not info.is_hdr:
        return stream.filter("scale", w=width, h=height, **options, **colors)
    stream = _tone_mapped(stream.filter("scale", w=width, h=height, **options))
    if not colors:
        return stream
    return stream.filter("scale", **colors)


def _tone_mapped(stream: Any) -> Any:
    """PQ or HLG to what a standard screen shows, on the small picture, where it costs little."""
    return (
        stream.filter("format", "yuv444p10le")
        .filter("zscale", transfer="linear", npl=_HDR_WHITE_NITS)
        .filter("format", "gbrpf32le")
        .filter("zscale", primaries="bt709")
        .filter("tonemap", "mobius", param=0.5, desat=0)
        .filter("zscale", transfer="bt709", matrix="gbr", range="full")
        .filter("format", "gbrp")
    )


def _raw_frames(info: VideoInfo, stream: Any, report: str, *extra: str) -> list[str]:
    """rgb24 frames on standard output, and per frame a line on standard error made by the format `report`."""
    output = ffmpeg.output(
        stream,
        "pipe:1",
        f="rawvideo",
        pix_fmt="rgb24",
        fps_mode="passthrough",
        enc_time_base=f"1/{MICROSECONDS}",
        **{"stats_enc_pre:v": "pipe:2", "stats_enc_pre_fmt:v": report},
    )
    return _command(info.path, output, *extra)


def _to_nowhere(info: VideoInfo, stream: Any, **options: str) -> list[str]:
    output = ffmpeg.output(stream, "-", f="null", **options)
    return _command(info.path, output, "-progress", "pipe:1", "-stats_period", "3600")


def _command(path: str | os.PathLike[str], output: Any, *extra: str) -> list[str]:
    # level+info: the description of the input, and a tag that tells complaints from it.
    settings = [
        "-hide_banner",
        "-nostdin",
        "-nostats",
        "-v",
        "level+info",
        "-filter_complex_threads",
        "1",
        *extra,
    ]
    arguments: list[str] = ffmpeg.get_args(output)
    return [ffmpeg_binary(), *settings, *(url(path) if a == _PLACE else a for a in arguments)]
