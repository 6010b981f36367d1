"""The ffmpeg command lines. ffmpeg-python writes the filter graphs; this module decides what is in them.

Every input is opened as `file:` + absolute path, by one of the white-listed demuxers and by no protocol but
`file`, so no name and no content can make ffmpeg open anything else.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from vtrcli.preprocessing import Interpolation, Size, framing_of
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.files import DEMUXERS, VideoInfo

Aspect = Literal["display", "pixels"]

MAX_PIXELS = 134_217_728
# Nothing wider is scaled: the crop keeps the middle square anyway, and a 4000 x 1 picture stays small.
MAX_ASPECT = 8
FILL = (255, 0, 255)  # behind a whole picture that has another shape than the rest
# Time base of the times that ffmpeg reports for its output, 1 / this.
MICROSECONDS = 1_000_000
# Pillow's (and so torchvision's and CLIP's) bicubic kernel has a = -0.5: B = 0, C = 0.5 in ffmpeg's terms.
_FLAGS = "accurate_rnd+full_chroma_int+full_chroma_inp"
_SCALERS: dict[Interpolation, dict[str, Any]] = {
    "bicubic": {"flags": f"bicubic+{_FLAGS}", "param0": 0, "param1": 0.5},
    "bilinear": {"flags": f"bilinear+{_FLAGS}"},
}
# Diffuse white of HDR material (ITU-R BT.2408), shown as white. Below half of it nothing is changed, above it
# highlights are compressed; the often copied npl=100 with hable shows the same white as mid-grey.
_HDR_WHITE_NITS = 203
# Stands for the file while ffmpeg-python handles it: that one cannot take a name that is not UTF-8.
_PLACE = "<the file>"
# What counts as the beginning of another recording in the same file (joined recordings, a broadcast encoder that
# restarts): times that go back by this much, or forward by so much more than any drop-out lasts.
RESTART_SECONDS = 1.0
LEAP_SECONDS = 3600.0
_KEY_PACKETS = 64
_KEY_PACKET_SECONDS = 30
# The last packets are read from the key frame before this long before the stated end.
_TAIL_SECONDS = 0.1
# Of packets: what belongs to another recording moves to the end of the one before; all else keeps its time, gaps too.
# Variables: 0 the move so far, 1 the decoding time that is due, 2 whether one is.
_CONTINUED = (
    f"if(eq(DTS,NOPTS),0,st(0,ld(0)+if(ld(2)*(lt(DTS,ld(1)-{RESTART_SECONDS:g}/TB)+gt(DTS,ld(1)+{LEAP_SECONDS:g}/TB))"
    ",ld(1)-DTS,0));st(1,DTS+max(DURATION,1));st(2,1))"
)
_TIMELINE = "setts=" + ":".join(
    f"{name}='{_CONTINUED};if(eq({value},NOPTS),NOPTS,{value}+ld(0))'"
    for name, value in (("pts", "PTS"), ("dts", "DTS"))
)
_KEYS_ONLY = "noise=drop='not(key)'"
PROGRESS = ("-progress", "pipe:1", "-stats_period", "3600")


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """Whole pictures beside what a model sees: their short side at most, and what makes the bytes that are kept of one,
    uint8 [height, width, 3]."""

    size: int
    encode: Callable[[NDArray[np.uint8]], bytes]


_CARD = "card"  # the name of the one that decodes, in a command


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What decoded frames are to be like, and who works at them: so many threads, or the card of that number (`gpu`).

    `aspect`: pixels made square as players do ("display"), or taken as they are stored ("pixels").
    """

    size: Size
    aspect: Aspect = "display"
    num_threads: int = 1
    keeping: Keeping | None = None
    gpu: int | None = None

    @property
    def decoder(self) -> dict[str, Any]:
        """Options of an input that is decoded so."""
        on_card = {} if self.gpu is None else {"hwaccel": "cuda", "hwaccel_device": _CARD}
        return {**on_card, **decoder(self.num_threads)}

    @property
    def device(self) -> list[str]:
        """What opens the card, once for all inputs of a process: by its number each would open it for itself."""
        return [] if self.gpu is None else ["-init_hw_device", f"cuda={_CARD}:{self.gpu}"]

    def whole_size(self, info: VideoInfo) -> tuple[int, int]:
        """(width, height) of the whole pictures of a video, (0, 0) where none are wanted: never enlarged, cut to
        `MAX_ASPECT`. One for all of a video; what changes its shape on the way fits in, with `FILL` behind."""
        if self.keeping is None:
            return 0, 0
        is_stored = self.aspect == "pixels"
        width = (info.stored_width if is_stored else info.width) or self.keeping.size
        height = (info.stored_height if is_stored else info.height) or self.keeping.size
        width, height = min(width, MAX_ASPECT * height), min(height, MAX_ASPECT * width)
        share = min(1.0, self.keeping.size / min(width, height))
        return max(1, round(width * share)), max(1, round(height * share))

    def shape(self, info: VideoInfo) -> tuple[int, int, int]:
        """(height, width, 3) of what ffmpeg writes per frame: what the model sees, the whole picture below it."""
        framing, (width, height) = framing_of(self.size), self.whole_size(info)
        return framing.height + height, max(framing.width, width), 3


def url(path: str | os.PathLike[str]) -> str:
    """The one way a path is given to ffmpeg: never an option, a protocol, a pattern or a list."""
    return "file:" + os.path.abspath(os.fspath(path))


def probe_command(
    path: str | os.PathLike[str],
    *,
    is_indexed: bool = False,
    with_head: bool = True,
    with_all: bool = False,
    is_torn: bool = False,
) -> list[str]:
    """Describes the file on standard error and lists packets on standard output.

    The first key packets of the first video stream with hashes (framehash, which tells no flags; unless without
    `with_head`); where an index leads there (`is_indexed`), the last packets of every video stream with checksums
    (framecrc), or all of them (`with_all`). `is_torn`: the file is read like a pipe.
    """
    listing = {"c": "copy", "flush_packets": 1}
    head = input_of(**{"t": _KEY_PACKET_SECONDS, "discard:v": "nokey"}, **_torn(is_torn))["V:0"]
    outputs = []
    if with_head or not is_indexed:
        keys = {"bsf:v": _KEYS_ONLY, "frames:v": _KEY_PACKETS, "hash": "adler32"}
        outputs.append(ffmpeg.output(head, "pipe:1", f="framehash", **listing, **keys))
    if is_indexed:
        tail = {} if with_all else {"sseof": -_TAIL_SECONDS, "noaccurate_seek": None}
        last = input_of(**tail)["V"]
        everything = {"copypriorss:v": 1, "copyinkf:v": None}
        outputs.append(ffmpeg.output(last, "pipe:1", f="framecrc", **listing, **everything))
    return command(path, ffmpeg.merge_outputs(*outputs), "-copyts")


def measure_command(info: VideoInfo) -> list[str]:
    """Lists all packets of the video stream, on the clock of `linear_command`, with checksums (framecrc)."""
    return _packet_listing(info, _TIMELINE)


def key_packets_command(info: VideoInfo) -> list[str]:
    """Lists the key packets; their decoding times are set to those of display, which keeps ffmpeg from guessing."""
    filters = f"{_TIMELINE},{_KEYS_ONLY},setts=pts=PTS:dts='if(eq(PTS,NOPTS),DTS,PTS)'"
    return _packet_listing(info, filters, **_sparing(info))


def packets_command(info: VideoInfo, *, first_seconds: float, last_seconds: float) -> list[str]:
    """Lists the packets from the key frame before one time (where no index leads there, from the begin) to another."""
    span = {"t": f"{last_seconds:.6f}"}
    if info.can_seek and first_seconds > 0:
        span = {"ss": seek_time(info, first_seconds), "t": f"{last_seconds - first_seconds:.6f}"}
    return _packet_listing(info, _TIMELINE, noaccurate_seek=None, **span)


def count_command(info: VideoInfo, *, keyframes: bool) -> list[str]:
    """Decodes everything and keeps nothing; ffmpeg's progress report ends with the number of frames, or key frames."""
    whole = _whole(info, decoder(1))
    stream = whole.filter("select", "key") if keyframes else whole
    output = ffmpeg.output(stream, "-", f="null", fps_mode="passthrough")
    return command(info.path, output, *PROGRESS)


def _packet_listing(info: VideoInfo, filters: str, **options: Any) -> list[str]:
    stream = input_of(**{"bsf:v": filters, **options, **_torn(info.is_torn)})[str(info.stream)]
    copied = {"c": "copy", "copypriorss:v": 1, "copyinkf:v": None}
    return command(info.path, ffmpeg.output(stream, "pipe:1", f="framecrc", **copied), "-copyts")


def linear_command(
    info: VideoInfo, decoding: Decoding, *, first_seconds: float, step_seconds: float | None, report: str
) -> list[str]:
    """One pass; per grid time `first_seconds + k * step_seconds` the frame on display, as rgb24 of that size.

    Without a step every frame, from the video's begin on.
    """
    stream = _whole(info, decoding.decoder)
    if step_seconds is None:
        stream = _counted_from(stream, info.zero_seconds)
    else:
        start_seconds = info.zero_seconds + first_seconds
        stream = grid(stream, start_seconds=start_seconds, rate=_rate(step_seconds))
    return _raw_frames(info, _sized(stream, info, decoding), decoding, report)


def seek_command(
    info: VideoInfo, decoding: Decoding, *, targets_seconds: Sequence[float], report: str
) -> list[str]:
    """One input per target, each decoded from the key frame before it, merged in order of time.

    The same rule as `linear_command`: a grid so fine that the first frame after the target fills the
    second slot, which ends the input at once.
    """
    # An MP4's index tells all that reading ahead would find out; that costs 3 ms per input.
    options: dict[str, Any] = {"nofind_stream_info": None} if info.container == "mov" else {}
    options |= {"noaccurate_seek": None, **decoding.decoder}
    branches = []
    for target in targets_seconds:
        source = input_of(ss=seek_time(info, target), **options)
        branch = grid(
            source[str(info.stream)], start_seconds=info.zero_seconds + target, rate=str(MICROSECONDS)
        )
        branch = branch.filter("trim", end_frame=1).filter("setpts", f"PTS+{round(target * MICROSECONDS)}")
        branches.append(_sized(branch, info, decoding))
    merged = ffmpeg.filter(branches, "interleave", nb_inputs=len(branches)) if branches[1:] else branches[0]
    return _raw_frames(info, merged, decoding, report)


def keyframes_command(
    info: VideoInfo, decoding: Decoding, *, keep: tuple[int, int] | None, decode_all: bool, report: str
) -> list[str]:
    """Key frames only; `keep` = (m, n) takes m of every n of them, evenly.

    Without `decode_all` the decoder sees no other packet; not every decoder gives all key frames then (H.264 with open
    groups of pictures), and streams whose times are counted cannot do without the others.
    """
    if decode_all or info.is_counted:
        stream = _whole(info, decoding.decoder).filter("select", "key")
    else:
        options = {"bsf:v": f"{_TIMELINE},{_KEYS_ONLY}", **_sparing(info), **_torn(info.is_torn)}
        stream = input_of(**options, **decoding.decoder)[str(info.stream)]
    if keep:
        kept, total = keep
        stream = stream.filter("select", f"gt(floor((n+1)*{kept}/{total}),floor(n*{kept}/{total}))")
    return _raw_frames(info, _sized(stream, info, decoding), decoding, report)


def times_command(info: VideoInfo) -> list[str]:
    """Decodes everything and keeps nothing but the times, in microseconds: one line on standard output per frame."""
    stats = {"stats_enc_pre:v": "pipe:1", "stats_enc_pre_fmt:v": "{pts}"}
    options = {"f": "null", "fps_mode": "passthrough", "enc_time_base": f"1/{MICROSECONDS}"}
    return command(info.path, ffmpeg.output(_whole(info, decoder(1)), "-", **options, **stats), "-copyts")


def picture_command(info: VideoInfo, *, seconds: float, longest_side: int, may_seek: bool) -> list[str]:
    """The frame on display at one time, whole and never enlarged, as a PPM on standard output."""
    source = beginning(info, seconds, may_seek=may_seek, num_threads=1)[str(info.stream)]
    # The same grid as in `seek_command`.
    stream = grid(source, start_seconds=info.zero_seconds + seconds, rate=str(MICROSECONDS))
    stream = stream.filter("trim", end_frame=1)
    share = shrinking(longest_side)
    width, height = f"max(1,round(iw*sar*{share}))", f"max(1,round(ih*{share}))"
    stream = scaled(narrowed(stream), info, width=width, height=height).filter("format", "rgb24")
    return command(info.path, ffmpeg.output(stream, "pipe:1", f="image2pipe", **{"c:v": "ppm"}), "-copyts")


def beginning(info: VideoInfo, seconds: float, *, may_seek: bool, num_threads: int) -> Any:
    """An input that is read from the key frame before a time, or from its begin."""
    if may_seek:
        return input_of(ss=seek_time(info, seconds), noaccurate_seek=None, **decoder(num_threads))
    return input_of(**_clock(info), **decoder(num_threads))


def seek_time(info: VideoInfo, seconds: float) -> str:
    """What to seek to for the key frame before a time. AVI counts in frames, and the nearest one may come later."""
    if info.container == "avi":
        seconds = max(0.0, seconds - 0.499 / info.rate)
    return f"{seconds:.6f}"


def _whole(info: VideoInfo, decoder: dict[str, Any]) -> Any:
    """The video stream from its begin."""
    return input_of(**_clock(info), **decoder)[str(info.stream)]


def _clock(info: VideoInfo) -> dict[str, Any]:
    """Options that give the packets of an input their times."""
    if info.is_counted:
        return {"r": info.rate, **_torn(info.is_torn)}
    return {"bsf:v": _TIMELINE, "bsf:a": _TIMELINE, **_torn(info.is_torn)}


def _torn(is_torn: bool) -> dict[str, Any]:
    """Keeps a demuxer from looking for what stands at the end of a file."""
    return {"seekable": 0} if is_torn else {}


def shrinking(longest_side: int) -> str:
    """The factor that makes the longer side of a picture so long, or leaves a smaller picture as it is."""
    return f"min(1,{longest_side}/max(iw*sar,ih))"


def _sparing(info: VideoInfo) -> dict[str, Any]:
    """Lets the demuxer skip what is no key frame unread, where it keeps the times right then."""
    # mov forgets to step through its table of display times
    is_right = info.container in ("avi", "flv", "asf") or (info.container == "mov" and not info.is_reordered)
    return {"discard:v": "nokey"} if is_right else {}


def input_of(**options: Any) -> Any:
    """The file, opened by the listed demuxers alone. `command` puts its name in."""
    return ffmpeg.input(_PLACE, protocol_whitelist="file", format_whitelist=DEMUXERS, **options)


def decoder(num_threads: int) -> dict[str, Any]:
    """Options of an input that is decoded."""
    return {"threads": num_threads, "max_pixels": MAX_PIXELS}


def grid(stream: Any, *, start_seconds: float, rate: str) -> Any:
    """Per slot k (output time k / rate) the frame on display at `start_seconds` + k / rate.

    `fps` with round=up gives a frame of time p the slot ceil((p - start) * rate) and lets a later frame of the
    same slot replace it: what comes out for a slot is the last frame at or before its time. The start is moved
    to 0, because `fps` rounds a start of its own to a whole slot at the end of the stream.
    """
    return _counted_from(stream, start_seconds).filter("fps", fps=rate, start_time=0, round="up")


def _counted_from(stream: Any, start_seconds: float) -> Any:
    """Times in microseconds from a start; one more is taken off, so that rounding misses no frame exactly at it."""
    shift = math.ceil(start_seconds * MICROSECONDS) + 1
    return stream.filter("settb", "AVTB").filter("setpts", f"PTS-{shift}")


def _rate(step_seconds: float) -> str:
    """1 / step as the ratio of two integers that ffmpeg accepts, off by less than 1e-12 of a second per step."""
    rate = min(Fraction(1_000_000), 1 / Fraction(step_seconds))
    ratio = rate.limit_denominator(int(1_000_000 / max(1.0, float(rate))))
    return f"{ratio.numerator}/{ratio.denominator}"


def needs_matrix(info: VideoInfo) -> bool:
    """Whether BT.709 has to be named, as players guess for large pictures; swscale would take BT.601 for any size."""
    return not info.has_color_matrix and (info.width >= 1280 or info.height > 576)


def _sized(stream: Any, info: VideoInfo, decoding: Decoding) -> Any:
    """What the model sees, and below it the whole picture where that is kept too."""
    if (
        decoding.gpu is not None
    ):  # a card keeps the colours of a picture together: the same numbers, in another order
        stream = stream.filter("format", info.pixel_format)
    if decoding.keeping is None:
        return _seen(stream, info, decoding)
    high, wide, _ = decoding.shape(info)
    width, height = decoding.whole_size(info)
    both = stream.filter_multi_output("split")
    seen, whole = _seen(both[0], info, decoding).filter("pad", wide, high), both[1]
    if decoding.aspect == "pixels":
        whole = whole.filter("setsar", 1)
    whole = _fitting(narrowed(whole), info, width, height)
    # Not vstack: that one forgets which time the decoder gave to a frame.
    over = ffmpeg.filter([seen, whole], "overlay", 0, high - height, format="rgb", eof_action="endall")
    return over.filter("format", "rgb24")


def _fitting(stream: Any, info: VideoInfo, width: int, height: int) -> Any:
    """To a size, or, where a picture has another shape than the header tells, within it; the rest is filled."""
    ratio, rounding = f"(iw*sar*{height}/(ih*{width}))", 0.02 + 1 / min(width, height)
    wide = f"if(gt({ratio},{1 - rounding}),{width},max(1,round({width}*{ratio})))"
    high = f"if(lt({ratio},{1 + rounding}),{height},max(1,round({height}/{ratio})))"
    stream = scaled(stream, info, width=wide, height=high).filter("format", "rgb24")
    return stream.filter("pad", width, height, 0, 0, color="0x{:02x}{:02x}{:02x}".format(*FILL))


def _seen(stream: Any, info: VideoInfo, decoding: Decoding) -> Any:
    """As torchvision's Resize(size) + CenterCrop(size), or squashed to the size, in standard dynamic range."""
    framing = framing_of(decoding.size)
    high, wide, scaler = framing.height, framing.width, _SCALERS[framing.interpolation]
    if framing.resize == "squash":
        stream = scaled(stream, info, width=str(wide), height=str(high), scaler=scaler)
        return stream.filter("format", "rgb24")
    if decoding.aspect == "pixels":  # whatever shape they are said to have
        stream = stream.filter("setsar", 1)
    # Of other shapes open_clip rounds where torchvision, for squares, cuts off.
    is_tall, whole = "lt(iw*sar,ih)", "trunc"
    if high != wide:
        is_tall, whole = f"lt(iw*sar*{high},ih*{wide})", "round"
    stream = scaled(
        narrowed(stream),
        info,
        width=f"if({is_tall},{wide},min({MAX_ASPECT * wide},{whole}({high}*iw*sar/ih)))",
        height=f"if({is_tall},min({MAX_ASPECT * high},{whole}({wide}*ih/(iw*sar))),{high})",
        scaler=scaler,
    )
    # torchvision rounds the offset half to even
    x, y = (
        f"(({side}-{size})+eq(mod({side}-{size},4),3)-eq(mod({side}-{size},4),1))/2"
        for side, size in (("iw", wide), ("ih", high))
    )
    return stream.filter("format", "rgb24").filter("crop", wide, high, x, y)


def narrowed(stream: Any) -> Any:
    """The middle of a picture that is wider or taller than `MAX_ASPECT`."""
    return stream.filter(
        "crop", f"max(1,min(iw,{MAX_ASPECT}*ih/sar))", f"max(1,min(ih,{MAX_ASPECT}*iw*sar))", exact=1
    )


def scaled(
    stream: Any,
    info: VideoInfo,
    *,
    width: str,
    height: str,
    scaler: dict[str, Any] = _SCALERS["bicubic"],
    colors: dict[str, str] | None = None,
) -> Any:
    """To a size in square pixels and to standard dynamic range.

    `colors` are options of the scaler for what comes out, where that is not RGB.
    """
    options = dict(scaler)
    if needs_matrix(info):
        options["in_color_matrix"] = "bt709"
    if not info.is_hdr:
        return stream.filter("scale", w=width, h=height, **options, **(colors or {}))
    stream = _tone_mapped(stream.filter("scale", w=width, h=height, **options))
    return stream.filter("scale", **colors) if colors else stream


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


def _raw_frames(info: VideoInfo, stream: Any, decoding: Decoding, report: str) -> list[str]:
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
    # copyts: times stay those of the file, or each input would count from a zero of its own.
    return command(info.path, output, "-copyts", *decoding.device)


def command(path: str | os.PathLike[str], output: Any, *extra: str) -> list[str]:
    """Program and arguments of a graph that ffmpeg-python wrote."""
    # level+info: the description of the input, and a tag that tells complaints from it.
    settings = ["-hide_banner", "-nostdin", "-nostats", "-v", "level+info", "-filter_complex_threads", "1"]
    arguments: list[str] = ffmpeg.get_args(output)
    return [ffmpeg_binary(), *settings, *extra, *(url(path) if a == _PLACE else a for a in arguments)]
