"""Moments of search results one after another on an editor's timeline, in whole frames of their sources.

How the timeline is written, as an EDL, OTIO, FCPXML or CSV, is `vtrcli.searching.interchange`'s work.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from vtrcli.errors import VideoError
from vtrcli.moments.moment import Moment
from vtrcli.searching.results import Hit, SearchResult
from vtrcli.times import can_drop_frames, parse_timecode, timecode
from vtrcli.video.files import VideoInfo
from vtrcli.video.frame_numbers import STANDARD_RATES, FrameCount, count_frames_of
from vtrcli.video.probe import probe

Spans = tuple[tuple[int, int], ...]  # frames: the first, and the one after the last
# Frames per second of a timeline; a source with others is shown at the next of these that holds whole frames of it.
TIMELINE_RATES = tuple(rate for rate in STANDARD_RATES if rate <= 60)
START_TIMECODE = "01:00:00"  # where timelines begin by custom
MAX_REEL_CHARACTERS = 8  # as CMX 3600 has it
_TAKEN_REELS = ("AX", "BL", "BLACK", "BARS")  # these mean something else in an EDL
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # controls, lone surrogates, line and paragraph separators
# So late a first picture is told: shorter is what encoders do.
_LATE_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of footage.

    Attributes:
        reel: its name in an EDL, at most 8 letters and digits, unlike that of any other source.
        rate: frames per second; where it varies, the nominal ones.
        start_frame: what the timecode of its first picture counts; 0 where it has none.
        num_frames: from its first picture to the end of the last.
        width, height: as it is displayed.
    """

    path: str
    reel: str
    rate: Fraction
    is_variable: bool
    start_frame: int
    drop_frame: bool
    num_frames: int
    width: int
    height: int
    has_sound: bool

    @property
    def name(self) -> str:
        """The name of its file, on one line."""
        return one_line(os.path.basename(self.path))

    @property
    def url(self) -> str:
        """file:///… with percent-encoding, also of names that are not UTF-8."""
        return Path(self.path).as_uri()

    def timecode(self, frame: int) -> str:
        """Of a frame, counted from the first picture."""
        return timecode(self.start_frame + frame, self.rate, drop_frame=self.drop_frame)


@dataclass(frozen=True)
class Mark:
    """What was found where: frames `first_frame` to before `after_frame` of a source, counted from its first picture;
    the same as it was found, in seconds; the sentence, and a remark such as `score 0.31, rank 2`."""

    first_frame: int
    after_frame: int
    seconds: tuple[float, float]
    text: str
    remark: str


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A moment on the timeline: frames `first_frame` to before `after_frame` of its source, counted from its first
    picture, at frame `record_frame` of the timeline for `num_record_frames` of its frames. One mark, or one for each
    moment of a chain."""

    source: Source
    first_frame: int
    after_frame: int
    record_frame: int
    num_record_frames: int
    query: str
    hit: Hit
    marks: tuple[Mark, ...]

    def record_span(self, mark: Mark, rate: Fraction) -> tuple[int, int]:
        """The frames of a mark on the timeline, which runs at `rate`."""
        frames = (mark.first_frame - self.first_frame, mark.after_frame - self.first_frame)
        first, after = (self.record_frame + round(frame / self.source.rate * rate) for frame in frames)
        return first, max(after, first + 1)

    def to_json(self) -> dict[str, Any]:
        """In and out points as frames from the first picture and as timecodes; out points are exclusive."""
        return {
            "query": self.query,
            "rank": self.hit.rank,
            "path": self.source.path,
            "reel": self.source.reel,
            "frame_rate": str(self.source.rate),
            "start_frame": self.first_frame,
            "end_frame": self.after_frame,
            "start_timecode": self.source.timecode(self.first_frame),
            "end_timecode": self.source.timecode(self.after_frame),
        }


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Cuts that follow each other; `notes` say what an editor should know of the sources, `failures` which moments have
    no cut, and why."""

    name: str
    rate: Fraction
    drop_frame: bool
    cuts: tuple[Cut, ...]
    notes: tuple[str, ...]
    failures: tuple[tuple[Hit, VideoError], ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Each once, in the order of the cuts."""
        return tuple(dict.fromkeys(cut.source for cut in self.cuts))

    @property
    def size_source(self) -> Source:
        """The one whose size is the timeline's: the first at its rate, else the first."""
        return next((source for source in self.sources if source.rate == self.rate), self.sources[0])

    @property
    def start_frame(self) -> int:
        """What the timecode of its first frame counts."""
        start = parse_timecode(f"{START_TIMECODE}{';' if self.drop_frame else ':'}00", self.rate)
        return start[0] if start else 0

    @property
    def num_frames(self) -> int:
        """Of the whole timeline."""
        return sum(cut.num_record_frames for cut in self.cuts)

    @property
    def rate_name(self) -> str:
        """29.97 or 25."""
        return rate_name(self.rate)

    def to_json(self) -> dict[str, Any]:
        """Frame rates are exact: `30000/1001` or `25`."""
        return {
            "frame_rate": str(self.rate),
            "drop_frame": self.drop_frame,
            "notes": list(self.notes),
            "cuts": [cut.to_json() for cut in self.cuts],
            "failures": [
                {"rank": hit.rank, "path": hit.path, "reason": error.reason, "detail": error.detail}
                for hit, error in self.failures
            ],
        }

    def timecode(self, frame: int) -> str:
        """Of a frame, counted from the first one."""
        return timecode(self.start_frame + frame, self.rate, drop_frame=self.drop_frame)


def timeline_of(
    results: Sequence[SearchResult], *, on_progress: Callable[[int, int], None] = lambda num_done, total: None
) -> Timeline:
    """The best moment of each hit, query after query, in the order of rank.

    A moment begins with the frame on display at its start and ends before the frame on display at its end, by the real
    time stamps of its file; it has one frame at least, and nothing around it: an editor has the whole source and drags
    its ends. The timeline runs at the rate that most cuts have.

    Args:
        on_progress: called with how many files are read, and of how many.
    """
    wanted = [(result.query, hit) for result in results for hit in result.hits]
    counted, failures, notes = _counted(wanted, on_progress)
    rate = timeline_rate([source.rate for source, _ in counted.values()])
    cuts: list[Cut] = []
    for number, (source, spans) in counted.items():
        query, hit = wanted[number]
        (first, after), last = spans[0], cuts[-1] if cuts else None
        cuts.append(
            Cut(
                source=source,
                first_frame=first,
                after_frame=after,
                record_frame=0 if last is None else last.record_frame + last.num_record_frames,
                num_record_frames=max(1, round((after - first) / source.rate * rate)),
                query=one_line(query),
                hit=hit,
                marks=_marks(query, hit, spans),
            )
        )
    return Timeline(
        name=one_line(results[0].query) if len(results) == 1 else f"{len(results)} searches",
        rate=rate,
        drop_frame=can_drop_frames(rate) and _mostly_drops(cuts),
        cuts=tuple(cuts),
        notes=notes,
        failures=tuple((wanted[number][1], error) for number, error in failures.items()),
    )


def _counted(
    wanted: Sequence[tuple[str, Hit]], on_progress: Callable[[int, int], None]
) -> tuple[dict[int, tuple[Source, Spans]], dict[int, VideoError], tuple[str, ...]]:
    """Per hit, by its number: its source and the frames of its moments, or why there are none; and notes."""
    by_path: dict[str, list[int]] = {}
    for number, (_, hit) in enumerate(wanted):
        path = hit.path and os.path.abspath(hit.path)
        by_path.setdefault(path or hit.store + hit.video_id, []).append(number)
    counted: dict[int, tuple[Source, Spans]] = {}
    failures: dict[int, VideoError] = {}
    notes: list[str] = []
    reels = Reels()
    for num_done, (path, numbers) in enumerate(by_path.items(), start=1):
        try:
            hits = [wanted[number][1] for number in numbers]
            source, count, info = _read(path, hits, reels)
        except VideoError as error:
            failures |= dict.fromkeys(numbers, error)
        else:
            notes += _notes(source, count, info)
            spans = iter(count.spans)
            for number, hit in zip(numbers, hits, strict=True):
                counted[number] = source, tuple(islice(spans, len(_moments(hit))))
        on_progress(num_done, len(by_path))
    return dict(sorted(counted.items())), dict(sorted(failures.items())), tuple(notes)


def _moments(hit: Hit) -> tuple[Moment, ...]:
    """What is cut, and then, of a chain, what is marked in it."""
    return (hit.moment, *(step.moment for step in hit.chain))


def _marks(query: str, hit: Hit, spans: Spans) -> tuple[Mark, ...]:
    """One for the hit, or one for each moment of its chain."""
    relevance = "" if hit.relevance is None else f", relevance {hit.relevance:+.1f}"
    score = "" if math.isnan(hit.score) else f"score {hit.score:.2f}{relevance}, "  # picked by hand
    remark = f"{score}rank {hit.rank}"
    if not hit.chain:
        return (_mark(hit.moment, spans[0], query, remark),)
    return tuple(
        _mark(step.moment, span, step.sentence, f"{number} of {len(hit.chain)}, {remark}")
        for number, (step, span) in enumerate(zip(hit.chain, spans[1:], strict=True), start=1)
    )


def _mark(moment: Moment, span: tuple[int, int], text: str, remark: str) -> Mark:
    return Mark(*span, (moment.start_seconds, moment.end_seconds), one_line(text), remark)


def timeline_rate(rates: Sequence[Fraction]) -> Fraction:
    """The most common of the sources' rates that editors have (the first of equals). Where none is, the rate that holds
    whole frames of the most common one, else the next above."""
    usual = [rate for rate in rates if rate in TIMELINE_RATES]
    if usual or not rates:
        return Counter(usual).most_common(1)[0][0] if usual else Fraction(25)
    most = Counter(rates).most_common(1)[0][0]
    whole = [rate for rate in TIMELINE_RATES if (rate / most).denominator == 1]
    parts = [rate for rate in reversed(TIMELINE_RATES) if (most / rate).denominator == 1]
    above = [rate for rate in TIMELINE_RATES if rate >= most]
    return [*whole, *parts, *above, TIMELINE_RATES[-1]][0]


def _read(path: str, hits: Sequence[Hit], reels: Reels) -> tuple[Source, FrameCount, VideoInfo]:
    for hit in hits:
        hit.require_file()
    info = probe(path)
    moments = [moment for hit in hits for moment in _moments(hit)]
    count = count_frames_of(info, [(moment.start_seconds, moment.end_seconds) for moment in moments])
    start = parse_timecode(info.timecode or "", count.rate) or (0, False)
    source = Source(
        path=path,
        reel=reels.name(info.reel or Path(path).stem),
        rate=count.rate,
        is_variable=count.is_variable,
        start_frame=start[0],
        drop_frame=start[1],
        num_frames=count.num_frames,
        width=info.width,
        height=info.height,
        has_sound=info.has_sound,
    )
    return source, count, info


def _notes(source: Source, count: FrameCount, info: VideoInfo) -> Iterable[str]:
    """What differs in the file from what editors take for granted."""
    if count.is_variable:
        yield (
            f"{source.name}: its frame rate varies; its frames are counted at {rate_name(source.rate)} per second, "
            "as editors conform it"
        )
    if info.rotation_degrees:
        yield (
            f"{source.name}: it is turned by {info.rotation_degrees} degrees when it is shown; an editor that ignores "
            "that shows it on its side"
        )
    if count.first_seconds > _LATE_SECONDS:
        yield (
            f"{source.name}: its first picture comes after {count.first_seconds:.2f} s; frames are counted from it"
        )
    if info.timecode and parse_timecode(info.timecode, count.rate) is None:
        yield (
            f"{source.name}: its timecode {info.timecode} does not exist at {rate_name(source.rate)} frames per "
            "second; it is counted from 00:00:00:00"
        )


def _mostly_drops(cuts: Sequence[Cut]) -> bool:
    """Whether most of the sources that could have drop-frame timecode do; a source without timecode says nothing."""
    votes = [cut.source.drop_frame for cut in cuts if can_drop_frames(cut.source.rate)]
    return sum(votes) * 2 > len(votes)


def one_line(text: str) -> str:
    """Text without what begins a new line of a list or cannot stand in XML 1.0: that becomes blanks."""
    return "".join(" " if unicodedata.category(c) in _NO_TEXT or c in "\ufffe\uffff" else c for c in text)


def rate_name(rate: Fraction) -> str:
    """29.97 or 25."""
    return f"{float(rate):.3f}".rstrip("0").rstrip(".") if rate.denominator > 1 else str(rate)


class Reels:
    """Names of at most 8 letters and digits, each given once.

    Where one is taken, X and a number end it: the next number alone could be another card's own name.
    """

    def __init__(self) -> None:
        self._taken = set(_TAKEN_REELS)

    def name(self, text: str) -> str:
        """For a file's or tape's name."""
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().upper()
        short = re.sub(r"[^A-Z0-9]", "", plain)[:MAX_REEL_CHARACTERS] or "REEL"
        name, number = short, 1
        while name in self._taken:
            number += 1
            name = f"{short[: MAX_REEL_CHARACTERS - 1 - len(str(number))]}X{number}"
        self._taken.add(name)
        return name
