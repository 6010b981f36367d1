"""Files for editors: what OpenTimelineIO's own adapters read back, and that its frames are the pictures of the moment.

Frame n of a clip is a flat grey of its own, so that a decoded picture tells which frame it is.
"""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.searching.hits import make_hit
from tests.video.clips import frame_number, run_ffmpeg
from tests.video.test_frame_numbers import VARIABLE, numbered_clip, pictures
from vtrcli.errors import UsageError
from vtrcli.moments.moment import Moment
from vtrcli.searching.final_cut import fcpxml_text, xmeml_text
from vtrcli.searching.interchange import CSV_COLUMNS, WRITERS, csv_text, edl_text, otio_text, write_timeline
from vtrcli.searching.results import SearchResult, Step
from vtrcli.searching.timeline import Timeline, timeline_of
from vtrcli.times import parse_timecode
from vtrcli.video.cut import frame_at

otio = pytest.importorskip("opentimelineio")

QUOTED = 'It\'s "the" one & <only> 100% ä猫.mov'
SPANS = [(0.42, 0.7), (0.1, 0.2)]
# Rate, options, what the first picture's timecode counts.
CAMERAS = {
    "24": ("24", [], 0),
    "25": ("25", ["-timecode", "10:00:00:00"], 900_000),
    "29.97 drop": ("30000/1001", ["-timecode", "00:59:59;20"], 107_882),
    "29.97 non-drop": ("30000/1001", ["-timecode", "00:59:59:20"], 107_990),
    "29.97 without timecode": ("30000/1001", [], 0),
    "30": ("30", ["-timecode", "01:00:00:00"], 108_000),
    "60": ("60", [], 0),
    "23.976": ("24000/1001", ["-timecode", "01:00:00:00"], 86_400),
    "50": ("50", [], 0),
    "59.94 drop": ("60000/1001", ["-timecode", "00:59:59;40"], 215_764),
    "variable": ("30", [], 0),
}
ALWAYS = ("29.97 drop",)
CASES = [pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.slow) for name in CAMERAS]


def result(*hits: Any, query: str = "a man cooks") -> SearchResult:
    return SearchResult(query=query, num_videos=len(hits), hits=hits)


def shot(tmp_path: Path, camera: str) -> tuple[Path, Timeline]:
    """A clip whose name has quotes, with two moments, and their timeline."""
    rate, options, _ = CAMERAS[camera]
    path = numbered_clip(tmp_path / QUOTED, rate, *options, times=VARIABLE if camera == "variable" else None)
    hits = [make_hit(path, span, rank=rank) for rank, span in enumerate(SPANS, start=1)]
    return path, timeline_of([result(*hits)])


def expected(path: Path, camera: str, timeline: Timeline) -> list[tuple[int, int]]:
    """In and out points, each with the timecode's begin, after looking whether they show what they should."""
    start = CAMERAS[camera][2]
    filters = [f"fps={timeline.rate}:start_time=0:round=up"] if camera == "variable" else []
    shown = pictures(path, *filters)
    for cut, (begin, end) in zip(timeline.cuts, SPANS, strict=True):
        assert shown[cut.first_frame] == frame_number(frame_at(path, begin))
        assert shown[cut.after_frame] == frame_number(frame_at(path, end))  # the first that is left out
    return [(start + cut.first_frame, start + cut.after_frame) for cut in timeline.cuts]


def points(clip: Any) -> tuple[float, float]:
    span = clip.source_range
    return span.start_time.value, span.end_time_exclusive().value


@pytest.mark.filterwarnings(
    "ignore:Testing an element's truth value"
)  # the adapter does, which Python 3.12 minds
@pytest.mark.parametrize("camera", CASES)
def test_an_edl_an_otio_and_an_fcpxml_are_read_back_to_the_frame(tmp_path: Path, camera: str) -> None:
    path, timeline = shot(tmp_path, camera)
    wanted, url, rate = expected(path, camera, timeline), path.as_uri(), timeline.rate
    assert any(after - first > 3 for first, after in wanted)

    edl = otio.adapters.read_from_string(edl_text(timeline), "cmx_3600", rate=float(rate))
    clips = list(edl.find_clips())
    assert [points(clip) for clip in clips] == wanted
    assert {(clip.name, clip.media_reference.target_url) for clip in clips} == {(QUOTED, url)}
    assert {clip.metadata["cmx_3600"]["reel"] for clip in clips} == {"ITSTHEON"}
    record = [clip.range_in_parent() for clip in clips]
    assert record[1].start_time.value == wanted[0][1] - wanted[0][0]

    made = otio.adapters.read_from_string(otio_text(timeline), "otio_json")
    clips = list(made.find_clips())
    assert [points(clip) for clip in clips] == wanted
    assert {clip.source_range.start_time.rate for clip in clips} == {float(rate)}
    media = clips[0].media_reference
    assert (media.target_url, media.available_range.start_time.value) == (url, CAMERAS[camera][2])
    assert media.available_range.duration.value >= 40 and clips[0].visible_range() == clips[0].source_range
    assert [(clip.markers[0].name, clip.markers[0].comment) for clip in clips] == [
        ("a man cooks", "score 0.25, rank 1"),
        ("a man cooks", "score 0.25, rank 2"),
    ]

    clips = list(otio.adapters.read_from_string(xmeml_text(timeline), "fcp_xml").find_clips())
    assert [points(clip) for clip in clips] == wanted
    assert {clip.media_reference.target_url for clip in clips} == {url}
    display = {clip.media_reference.metadata["fcp_xml"]["timecode"]["displayformat"] for clip in clips}
    assert display == {"DF" if " drop" in camera else "NDF"}
    assert [clip.markers[0].marked_range.start_time.value for clip in clips] == [
        cut.first_frame for cut in timeline.cuts
    ]

    check_fcpxml(fcpxml_text(timeline), wanted, url, rate)


def check_fcpxml(text: str, wanted: list[tuple[int, int]], url: str, rate: Fraction) -> None:
    """The exact times as they stand there, and what the adapter makes of them: it knows whole frames a second only."""
    clips = list(ElementTree.fromstring(text).iterfind("./event/project/sequence/spine/asset-clip"))
    spans = [(seconds(clip, "start"), seconds(clip, "start") + seconds(clip, "duration")) for clip in clips]
    assert [(start * rate, end * rate) for start, end in spans] == wanted
    [project] = otio.adapters.read_from_string(as_version_1_8(text), "fcpx_xml")
    read = list(project.find_clips())
    assert {clip.media_reference.target_url for clip in read} == {url}
    for clip, (start, end) in zip(read, spans, strict=True):
        known = int(rate)
        assert clip.source_range.start_time == otio.opentime.RationalTime(int(start * known), known)
        assert clip.source_range.duration.value == int((end - start) * known)
        assert clip.markers[0].name == "a man cooks"


def as_version_1_8(text: str) -> str:
    """The adapter looks for the address of a file where FCPXML had it before version 1.9."""
    root = ElementTree.fromstring(text)
    for asset in root.iterfind("./resources/asset"):
        [media] = asset
        asset.attrib["src"] = media.attrib["src"]
    return ElementTree.tostring(root, encoding="unicode")


def seconds(element: ElementTree.Element, name: str) -> Fraction:
    return Fraction(element.attrib[name].removesuffix("s"))


def test_a_drop_frame_edl_says_so(tmp_path: Path) -> None:
    path = numbered_clip(tmp_path / "a.mov", "30000/1001", "-timecode", "00:59:59;20")
    lines = edl_text(timeline_of([result(make_hit(path, (0.2, 0.9)))])).splitlines()
    assert lines == [
        "TITLE: a man cooks",
        "FCM: DROP FRAME",
        "",
        "001  A        V     C        00:59:59;25 01:00:00;16 01:00:00;00 01:00:00;21",
        "* FROM CLIP NAME: a.mov",
        f"* SOURCE FILE: {path}",
        f"* OTIO REFERENCE FROM: {path.as_uri()}",
        "* LOC: 01:00:00;00 BLUE    a man cooks (score 0.25, rank 1)",
    ]


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clips without timecode, by rate; one has sound."""
    folder = tmp_path_factory.mktemp("footage")
    clips = {rate: numbered_clip(folder / f"at {rate}.mp4", rate) for rate in ("25", "60")}
    clips["sound"] = folder / "sound.mp4"
    sound = ["-f", "lavfi", "-i", "sine=duration=2", "-c:v", "copy", "-c:a", "aac"]
    run_ffmpeg("-i", str(clips["25"]), *sound, str(clips["sound"]))
    return clips


def test_sources_of_different_rates_in_one_timeline(footage: dict[str, Path], tmp_path: Path) -> None:
    hits = [make_hit(footage[name], (0.2, 0.6), rank=rank) for rank, name in enumerate(["60", "25", "sound"])]
    files = {kind: tmp_path / f"cut.{kind}" for kind in WRITERS}
    timeline = write_timeline([result(*hits)], files)
    assert timeline.rate == 25  # most have it
    assert [(cut.first_frame, cut.after_frame, cut.num_record_frames) for cut in timeline.cuts] == [
        (12, 36, 10),
        (5, 15, 10),
        (5, 15, 10),
    ]
    assert timeline.notes == (
        "an EDL has one frame rate, here 25: source times of at 60.mp4 at 60 count their own frames; --otio, "
        "--fcpxml and --xml say so themselves",
    )
    made = otio.adapters.read_from_file(str(files["otio"]))
    assert [points(clip) for clip in made.video_tracks()[0].find_clips()] == [(12, 36), (5, 15), (5, 15)]
    assert [
        clip.range_in_parent().start_time.to_seconds() for clip in made.video_tracks()[0].find_clips()
    ] == [pytest.approx(seconds) for seconds in (0, 0.4, 0.8)]
    items = ElementTree.parse(files["xml"]).findall(".//video/track/clipitem")
    assert [[item.findtext(tag) for tag in ("start", "end", "in", "out")] for item in items] == [
        ["0", "10", "12", "36"],
        ["10", "20", "5", "15"],
        ["20", "30", "5", "15"],
    ]
    spine = ElementTree.parse(files["fcpxml"]).iterfind(".//spine/asset-clip")
    assert [(clip.attrib["offset"], clip.attrib["duration"], len(clip)) for clip in spine] == [
        ("0s", "2/5s", 2),  # conform-rate and marker
        ("2/5s", "2/5s", 1),
        ("4/5s", "2/5s", 1),
    ]


def test_sound_comes_along_where_there_is_any(footage: dict[str, Path]) -> None:
    timeline = timeline_of([result(make_hit(footage["25"], (0, 1)), make_hit(footage["sound"], (0, 1)))])
    channels = [line.split()[2] for line in edl_text(timeline).splitlines() if line[:1].isdigit()]
    assert channels == ["V", "AA/V"]
    [sound] = otio.adapters.read_from_string(otio_text(timeline), "otio_json").audio_tracks()
    assert [(type(item).__name__, item.duration().value) for item in sound] == [("Gap", 25), ("Clip", 25)]
    assets = ElementTree.fromstring(fcpxml_text(timeline)).iterfind(".//asset")
    assert [asset.get("hasAudio") for asset in assets] == [None, "1"]
    xml = ElementTree.fromstring(xmeml_text(timeline))
    for item in xml.findall(".//clipitem[link]"):  # picture and sound are tied to each other
        links = [(link.findtext("linkclipref"), link.findtext("mediatype")) for link in item.iterfind("link")]
        assert links == [("picture-2", "video"), ("sound-1", "audio")]
    assert [item.attrib["id"] for item in xml.findall(".//clipitem[link]")] == ["picture-2", "sound-1"]


def test_a_moment_that_was_found_twice_is_there_twice(footage: dict[str, Path]) -> None:
    found = result(make_hit(footage["25"], (0, 1)))
    timeline = timeline_of([found, found])
    for text, adapter in ((otio_text(timeline), "otio_json"), (xmeml_text(timeline), "fcp_xml")):
        clips = list(otio.adapters.read_from_string(text, adapter).find_clips())
        assert [points(clip) for clip in clips] == [(0, 25), (0, 25)], adapter


def test_moments_are_ranges_of_the_footage_with_the_query_as_keyword(footage: dict[str, Path]) -> None:
    two = [result(make_hit(footage["25"], (0.2, 0.6)), query=query) for query in ("a <dog>", "a\x00cat\n")]
    timeline = timeline_of(two)
    assert timeline.name == "2 searches"
    clips = list(ElementTree.fromstring(fcpxml_text(timeline)).iterfind("./event/asset-clip"))
    assert len(clips) == 1
    assert [(found.attrib["value"], found.attrib["start"]) for found in clips[0].iterfind("keyword")] == [
        ("a <dog>", "1/5s"),
        ("a cat ", "1/5s"),
    ]


def test_a_chain_is_one_cut_with_a_marker_for_each_sentence(footage: dict[str, Path]) -> None:
    chain = (
        Step("he opens a door", Moment(0.2, 0.3, 0.4, 0.3), 2.0),
        Step("he sits", Moment(0.6, 0.7, 0.8, 0.2), 1.5),
    )
    hit = replace(make_hit(footage["60"], (0.2, 0.8)), chain=chain)
    timeline = timeline_of([result(hit, query="he opens a door, then he sits")])
    [cut] = timeline.cuts
    assert (cut.first_frame, cut.after_frame) == (12, 48)
    assert [(mark.first_frame, mark.after_frame, mark.text, mark.remark) for mark in cut.marks] == [
        (12, 24, "he opens a door", "1 of 2, score 0.25, rank 1"),
        (36, 48, "he sits", "2 of 2, score 0.25, rank 1"),
    ]
    [clip] = otio.adapters.read_from_string(otio_text(timeline), "otio_json").find_clips()
    assert [(marker.name, marker.marked_range.start_time.value) for marker in clip.markers] == [
        ("he opens a door", 12),
        ("he sits", 36),
    ]
    located = [line for line in edl_text(timeline).splitlines() if line.startswith("* LOC")]
    assert [line.split()[2] for line in located] == ["01:00:00:00", "01:00:00:24"]
    rows = list(csv.DictReader(io.StringIO(csv_text(timeline))))
    assert [(row["Marker Name"], row["In"], row["Source In"]) for row in rows] == [
        ("he opens a door", "01:00:00:00", "00:00:00:12"),
        ("he sits", "01:00:00:24", "00:00:00:36"),
    ]
    for text, tag in ((fcpxml_text(timeline), "value"), (xmeml_text(timeline), "name")):
        marks = list(ElementTree.fromstring(text).iter("marker"))
        assert [mark.get(tag) or mark.findtext(tag) for mark in marks] == ["he opens a door", "he sits"]


def test_the_table_has_a_row_per_marker(footage: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "found.csv"
    write_timeline([result(make_hit(footage["25"], (0.2, 0.6), relevance=2.94))], {"csv": path})
    [row] = csv.DictReader(io.StringIO(path.read_text("utf-8")))
    assert tuple(row) == CSV_COLUMNS
    assert row == {
        "Marker Name": "a man cooks",
        "Description": "score 0.25, relevance +2.9, rank 1, at 25.mp4",
        "In": "01:00:00:00",
        "Out": "01:00:00:10",
        "Duration": "00:00:00:10",
        "Marker Type": "Comment",
        "Source File": str(footage["25"]),
        "Reel": "AT25",
        "Source In": "00:00:00:05",
        "Source Out": "00:00:00:15",
        "Source Frame Rate": "25",
        "Source Start Frame": "5",
        "Source End Frame": "15",
        "Start Seconds": "0.200",
        "End Seconds": "0.600",
        "Rank": "1",
        "Score": "0.2500",
        "Relevance": "2.94",
    }


def test_a_file_that_exists_stays_as_it_is(footage: dict[str, Path], tmp_path: Path) -> None:
    mine = tmp_path / "cut.edl"
    mine.write_text("my edit")
    with pytest.raises(UsageError) as caught:
        write_timeline([result(make_hit(footage["25"]))], {"csv": tmp_path / "a.csv", "edl": mine})
    assert str(caught.value) == (
        f"{mine} exists; --edl writes a new file; a timeline of yours is never overwritten; "
        "move the file away or choose another name"
    )
    assert mine.read_text() == "my edit" and not (tmp_path / "a.csv").exists()


def test_without_opentimelineio_the_others_work(
    footage: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentimelineio", None)  # as Python sees a package that is not there
    found = result(make_hit(footage["25"]))
    with pytest.raises(UsageError) as caught:
        write_timeline([found], {"otio": tmp_path / "a.otio"})
    assert str(caught.value) == (
        "OpenTimelineIO is not installed; --otio needs the extra editor; the other kinds of timeline do not; "
        'pip install "vtrcli[editor]"'
    )
    files = {kind: tmp_path / f"a.{kind}" for kind in WRITERS if kind != "otio"}
    write_timeline([found], files)
    assert all(path.stat().st_size > 100 for path in files.values())


def test_what_is_missing_replaced_or_broken_is_left_out_and_told(
    footage: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(footage["25"].read_bytes()[:300])
    hits = [
        make_hit(tmp_path / "gone.mp4", is_missing=True),
        make_hit(broken, rank=2),
        replace(make_hit(footage["60"], rank=3), is_replaced=True),
        make_hit(footage["25"], rank=4),
    ]
    timeline = write_timeline([result(*hits)], {"edl": tmp_path / "a.edl"})
    assert [(hit.rank, error.reason) for hit, error in timeline.failures] == [
        (1, "not-found"),
        (2, "corrupt"),
        (3, "changed"),
    ]
    assert [cut.hit.rank for cut in timeline.cuts] == [4]
    nothing = tmp_path / "b.edl"
    assert write_timeline([result(*hits[:3])], {"edl": nothing}).cuts == () and not nothing.exists()


def test_what_an_editor_should_know_of_a_file_is_told(tmp_path: Path) -> None:
    clip = numbered_clip(tmp_path / "v.mp4", "30", times=VARIABLE)
    turned = numbered_clip(tmp_path / "turned.mp4", "25")
    content = turned.read_bytes()
    at = (
        content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    )  # version, times and ids, reserved, layer and volume: the matrix
    quarter = b"".join((number << 16).to_bytes(4, "big", signed=True) for number in (0, 1, 0, -1, 0, 0, 0, 0))
    turned.write_bytes(content[:at] + quarter + content[at + 32 :])
    odd = numbered_clip(tmp_path / "odd.mkv", "25", "-metadata", "timecode=01:00:00;00")
    notes = timeline_of([result(*(make_hit(path, (0.2, 0.6)) for path in (clip, turned, odd)))]).notes
    assert notes == (
        "v.mp4: its frame rate varies; its frames are counted at 30 per second, as editors conform it",
        "turned.mp4: it is turned by 90 degrees when it is shown; an editor that ignores that shows it on its side",
        "odd.mkv: its timecode 01:00:00;00 does not exist at 25 frames per second; it is counted from 00:00:00:00",
    )


def test_an_fcpxml_says_only_what_its_dtd_allows(footage: dict[str, Path], tmp_path: Path) -> None:
    """Final Cut Pro refuses a document as a whole: rates have names, and elements an order."""
    odd, fast = (numbered_clip(tmp_path / f"{rate}.mp4", rate) for rate in ("20", "120"))
    hits = [
        make_hit(path, (0.1, 0.4)) for path in (footage["25"], footage["sound"], footage["60"], odd, fast)
    ]
    root = ElementTree.fromstring(fcpxml_text(timeline_of([result(*hits)])))
    conforms = [clip.findall("conform-rate") for clip in root.iterfind(".//spine/asset-clip")]
    assert [[conform.get("srcFrameRate") for conform in found] for found in conforms] == [
        [], [], ["60"], [None], [None],
    ]  # fmt: skip
    for clip in root.iter("asset-clip"):
        tags = [child.tag for child in clip]
        assert tags == sorted(tags, key=["conform-rate", "marker", "keyword"].index)
    ids = [resource.attrib["id"] for resource in root.iterfind("./resources/*")]
    assert len(set(ids)) == len(ids)
    named = {
        element.attrib[name]
        for element in root.iter()
        for name in ("ref", "format")
        if name in element.attrib
    }
    assert named <= set(ids)


def test_the_reel_that_a_camera_names_is_the_reel(tmp_path: Path) -> None:
    named = ["-timecode", "01:00:00:00", "-metadata:s:v:0", "reel_name=A001_C002_0903XY"]
    path = numbered_clip(tmp_path / "copy of take 3.mov", "25", *named)
    [source] = timeline_of([result(make_hit(path, (0.2, 0.6)))]).sources
    assert (source.reel, source.name) == ("A001C002", "copy of take 3.mov")


def test_no_name_can_begin_a_line_of_its_own(footage: dict[str, Path], tmp_path: Path) -> None:
    name = "a\n002  AX V C 00:00:00:00 00:00:01:00 01:00:00:00 01:00:01:00\u2028\x1b.mp4"
    path = tmp_path / name
    path.write_bytes(footage["25"].read_bytes())
    timeline = timeline_of([result(make_hit(path), query="x\r\nTITLE: y\ufffe")])
    edl = edl_text(timeline)
    assert len(edl.splitlines()) == 8 and len(edl.split("\u2028")) == 1
    ElementTree.fromstring(fcpxml_text(timeline))
    assert otio.adapters.read_from_string(otio_text(timeline), "otio_json").name == "x  TITLE: y "


def test_a_name_that_is_no_utf8_is_found_by_its_url(footage: dict[str, Path], tmp_path: Path) -> None:
    path = Path(str(tmp_path) + "/caf\udce9.mp4")
    try:
        path.write_bytes(footage["25"].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    files = {kind: tmp_path / f"a.{kind}" for kind in WRITERS}
    write_timeline([result(make_hit(path))], files)
    for kind in ("edl", "otio", "fcpxml", "xml"):
        assert "caf%E9.mp4" in files[kind].read_text("utf-8"), kind
    assert b"/caf\xe9.mp4" in files["csv"].read_bytes()


def test_the_timecodes_of_an_edl_are_those_that_are_read(footage: dict[str, Path]) -> None:
    timeline = timeline_of([result(make_hit(footage["60"], (0.2, 0.6)))])
    [cut] = timeline.cuts
    assert parse_timecode(cut.source.timecode(cut.first_frame), Fraction(60)) == (12, False)
    assert cut.to_json()["end_timecode"] == "00:00:00:36"


@pytest.mark.slow
def test_a_rate_that_no_editor_has_is_counted_at_a_multiple_of_it(tmp_path: Path) -> None:
    """Screen recordings, old web cameras: 12.5 pictures a second are every other of 25."""
    half = numbered_clip(tmp_path / "half.mp4", "25/2")
    ten = numbered_clip(tmp_path / "ten.mp4", "10")
    timeline = timeline_of([result(make_hit(ten, (0.5, 1.0)), make_hit(half, (0.4, 1.2)))])
    assert timeline.rate == 30
    root = ElementTree.fromstring(xmeml_text(timeline))
    items = [
        [item.findtext(tag) for tag in ("rate/timebase", "in", "out", "start", "end")]
        for item in root.iterfind(".//video/track/clipitem")
    ]
    assert items == [["10", "5", "10", "0", "15"], ["25", "10", "30", "15", "39"]]
    made = otio.adapters.read_from_string(otio_text(timeline), "otio_json")
    assert [points(clip) for clip in made.find_clips()] == [(5, 10), (5, 15)]
    assert "00:00:00:05 00:00:01:00 01:00:00:00 01:00:00:15" in edl_text(timeline)


def test_more_events_than_an_edl_numbers_are_told(footage: dict[str, Path], tmp_path: Path) -> None:
    hits = [make_hit(footage["25"], (0.2, 0.6), rank=rank) for rank in range(1, 1001)]
    timeline = write_timeline([result(*hits)], {"edl": tmp_path / "long.edl"})
    assert timeline.notes == (
        "an EDL numbers 999 events, this one has 1,000: some programs read no more; --otio, --fcpxml and --xml have no "
        "such limit",
    )
    assert "\n1000  AT25 " in (tmp_path / "long.edl").read_text()
