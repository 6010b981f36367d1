"""A timeline as XML of Final Cut Pro: FCPXML, and the older xmeml of Final Cut Pro 7, which Premiere Pro imports."""

from __future__ import annotations

import math
from fractions import Fraction
from xml.etree import ElementTree

from vtrcli.searching.timeline import Cut, Source, Timeline

# Read by Final Cut Pro 10.6 and newer and by DaVinci Resolve 18. A document that its DTD does not allow is refused as a
# whole: the order of elements matters, and so do these names of frame rates.
_FCPXML_VERSION = "1.10"
_CONFORM_RATES = "23.98 24 25 29.97 30 47.95 48 50 59.94 60".split()
_MAX_MULTIPLE = 4


def fcpxml_text(timeline: Timeline) -> str:
    """Final Cut Pro's XML: an event with the footage, in which the moments are ranges with the query as their keyword,
    and a project with the timeline, in which it is a marker."""
    root = ElementTree.Element("fcpxml", version=_FCPXML_VERSION)
    resources = _add(root, "resources")
    formats: dict[tuple[Fraction, int, int], str] = {}

    def format_of(rate: Fraction, source: Source) -> str:
        key = (rate, source.width, source.height)
        if key not in formats:
            formats[key] = f"r{len(resources) + 1}"
            size = {"width": str(source.width), "height": str(source.height)} if source.width else {}
            _add(resources, "format", id=formats[key], frameDuration=_seconds(1 / rate), **size)
        return formats[key]

    sequence_format = format_of(timeline.rate, timeline.size_source)
    assets = {
        source: _asset(resources, source, format_of(source.rate, source)) for source in timeline.sources
    }
    event = _add(root, "event", name=timeline.name)
    for source in timeline.sources:
        clip = _add(
            event,
            "asset-clip",
            name=source.name,
            ref=assets[source],
            tcFormat=_tc_format(source.drop_frame),
            **_whole_span(source),
        )
        for cut in timeline.cuts:
            for mark in cut.marks if cut.source == source else ():
                length = _seconds((mark.after_frame - mark.first_frame) / source.rate)
                start = _source_seconds(source, mark.first_frame)
                _add(clip, "keyword", start=start, duration=length, value=mark.text, note=mark.remark)
    project = _add(event, "project", name=timeline.name)
    sequence = _add(
        project,
        "sequence",
        format=sequence_format,
        duration=_seconds(timeline.num_frames / timeline.rate),
        tcStart="0s",
        tcFormat=_tc_format(timeline.drop_frame),
    )
    spine = _add(sequence, "spine")
    for cut in timeline.cuts:
        _spine_clip(spine, cut, timeline.rate, assets[cut.source])
    return _document(root)


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _asset(resources: ElementTree.Element, source: Source, format_id: str) -> str:
    """Adds a file to the resources; its id."""
    sound = {"hasAudio": "1", "audioSources": "1"} if source.has_sound else {}
    asset = _add(
        resources,
        "asset",
        id=f"r{len(resources) + 1}",
        name=source.name,
        hasVideo="1",
        format=format_id,
        **_whole_span(source),
        **sound,
    )
    _add(asset, "media-rep", kind="original-media", src=source.url)
    return asset.attrib["id"]


def _whole_span(source: Source) -> dict[str, str]:
    start, length = source.start_frame / source.rate, source.num_frames / source.rate
    return {"start": _seconds(start), "duration": _seconds(length)}


def _spine_clip(spine: ElementTree.Element, cut: Cut, rate: Fraction, asset: str) -> None:
    source = cut.source
    clip = _add(
        spine,
        "asset-clip",
        ref=asset,
        name=source.name,
        offset=_seconds(cut.record_frame / rate),
        start=_source_seconds(source, cut.first_frame),
        duration=_seconds(cut.num_record_frames / rate),
        tcFormat=_tc_format(source.drop_frame),
    )
    if source.rate != rate:  # played at its own speed
        name = f"{float(source.rate):.2f}".removesuffix(".00")
        stated = {"srcFrameRate": name} if name in _CONFORM_RATES else {}
        _add(clip, "conform-rate", scaleEnabled="0", **stated)
    for mark in cut.marks:
        start = _source_seconds(source, mark.first_frame)
        _add(
            clip, "marker", start=start, duration=_seconds(1 / source.rate), value=mark.text, note=mark.remark
        )


def _tc_format(drop_frame: bool) -> str:
    return "DF" if drop_frame else "NDF"


def _source_seconds(source: Source, frame: int) -> str:
    return _seconds((source.start_frame + frame) / source.rate)


def _seconds(time: Fraction) -> str:
    """FCPXML's times: exact, `1001/30000s` or `12s`."""
    return f"{time}s"


def xmeml_text(timeline: Timeline) -> str:
    """Final Cut Pro 7's XML (xmeml 4): a video track, and an audio track whose clips are linked to their pictures; a
    marker on each picture has the query as its name."""
    root = ElementTree.Element("xmeml", version="4")
    project = _add(root, "project")
    _texts(project, name=timeline.name)
    sequence = _add(_add(project, "children"), "sequence", id="sequence-1")
    _texts(sequence, name=timeline.name, duration=timeline.num_frames)
    _rate(sequence, timeline.rate)
    _timecode(sequence, timeline.start_frame, timeline.rate, timeline.timecode(0))
    media = _add(sequence, "media")
    video = _add(media, "video")
    _size(_add(video, "format"), timeline.size_source)
    pictures, sounds = _add(video, "track"), _add(_add(media, "audio"), "track")
    files: dict[Source, str] = {}
    for cut in timeline.cuts:
        picture = _clip_item(pictures, cut, len(pictures) + 1, "picture")
        _file(picture, cut.source, files)
        for mark in cut.marks:
            marked = _frames(mark.first_frame, cut.source.rate)
            _texts(_add(picture, "marker"), name=mark.text, comment=mark.remark, **{"in": marked, "out": -1})
        if cut.source.has_sound:
            sound = _clip_item(sounds, cut, len(sounds) + 1, "sound")
            _file(sound, cut.source, files)
            _texts(_add(sound, "sourcetrack"), mediatype="audio", trackindex=1)
            for item in (picture, sound):
                _link(item, picture, "video", len(pictures))
                _link(item, sound, "audio", len(sounds))
    return _document(root)


def _clip_item(track: ElementTree.Element, cut: Cut, number: int, name: str) -> ElementTree.Element:
    source = cut.source
    item = _add(track, "clipitem", id=f"{name}-{number}")
    _texts(item, name=source.name, duration=_frames(source.num_frames, source.rate))
    _rate(item, source.rate)
    _texts(
        item,
        start=cut.record_frame,
        end=cut.record_frame + cut.num_record_frames,
        **{"in": _frames(cut.first_frame, source.rate), "out": _frames(cut.after_frame, source.rate)},
    )
    return item


def _file(item: ElementTree.Element, source: Source, files: dict[Source, str]) -> None:
    """The whole description where a file comes first, else a reference to it."""
    if source in files:
        _add(item, "file", id=files[source])
        return
    files[source] = f"file-{len(files) + 1}"
    file = _add(item, "file", id=files[source])
    _texts(file, name=source.name, pathurl=source.url, duration=_frames(source.num_frames, source.rate))
    _rate(file, source.rate)
    start = _frames(source.start_frame, source.rate)
    code = _timecode(file, start, source.rate, source.timecode(0))
    _texts(_add(code, "reel"), name=source.reel)
    media = _add(file, "media")
    _size(_add(media, "video"), source)
    if source.has_sound:
        _add(media, "audio")


def _link(item: ElementTree.Element, other: ElementTree.Element, kind: str, number: int) -> None:
    _texts(_add(item, "link"), linkclipref=other.attrib["id"], mediatype=kind, trackindex=1, clipindex=number)


def _base_rate(rate: Fraction) -> tuple[int, bool]:
    """What xmeml has for a rate: whole frames a second, and whether these are slowed down by 1000/1001. Others are
    counted at their least whole multiple, or at the next whole rate."""
    if rate == Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001):
        return round(rate * Fraction(1001, 1000)), True
    multiples = (rate * times for times in range(1, _MAX_MULTIPLE + 1))
    return next((int(found) for found in multiples if found.denominator == 1), math.ceil(rate)), False


def _frames(number: int, rate: Fraction) -> int:
    """The number of a frame at the rate that xmeml has for its own: the first that shows it."""
    base, is_slowed = _base_rate(rate)
    return math.ceil(number / rate * base * (Fraction(1000, 1001) if is_slowed else 1))


def _rate(parent: ElementTree.Element, rate: Fraction) -> None:
    base, is_slowed = _base_rate(rate)
    _texts(_add(parent, "rate"), timebase=base, ntsc="TRUE" if is_slowed else "FALSE")


def _timecode(parent: ElementTree.Element, frame: int, rate: Fraction, shown: str) -> ElementTree.Element:
    code = _add(parent, "timecode")
    _rate(code, rate)
    _texts(code, string=shown, frame=frame, displayformat=_tc_format(";" in shown))
    return code


def _size(parent: ElementTree.Element, source: Source) -> None:
    _texts(_add(parent, "samplecharacteristics"), width=source.width, height=source.height)


def _texts(parent: ElementTree.Element, **texts: str | int) -> None:
    """A child for each, with the text in it."""
    for tag, text in texts.items():
        _add(parent, tag).text = str(text)


def _document(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE {root.tag}>\n{body}\n'
