"""A video can make ffmpeg open nothing but itself: files of every kind that names others, beside a file and a port that
tell when somebody comes.

Plain ffmpeg does come where it is let: that shows that the bait works.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.video.clips import make_video, run_ffmpeg
from vtrcli.errors import VtrError
from vtrcli.searching.encoding import read_image
from vtrcli.video import graph
from vtrcli.video.cut import cut_clip, frame_at
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.files import DEMUXERS
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Keyframes, Uniform

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches the canary by inotify")

IN_ACCESS, IN_OPEN, IN_NONBLOCK = 1, 32, 0o4000
# Demuxers that open files or addresses that their input names, or that its own name leads to. The bait of those that
# can be written by hand is below; the others only must not be among ours.
OPEN_OTHERS = frozenset(
    "concat dash hls image2 imf lavfi mpjpeg rtp rtsp sap sdp vobsub webm_dash_manifest mlv dvdvideo avisynth bluray "
    "alias_pix brender_pix libgme libopenmpt msnwctcp x11grab fbdev alsa v4l2 kmsgrab iec61883 jack oss".split()
)


class Canary:
    """A folder with a video and a text that nobody may open, and a port to which nobody may connect."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.video = folder / "canary.mp4"
        make_video(self.video, "testsrc2=size=64x48:rate=10:duration=0.5")
        self.text = folder / "canary.txt"
        self.text.write_text("secret\n")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._libc.inotify_init1(IN_NONBLOCK)
        if self._inotify < 0:
            pytest.skip("inotify cannot be used")
        self._libc.inotify_add_watch(self._inotify, os.fsencode(folder), IN_ACCESS | IN_OPEN)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        self.port = self._server.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._udp.setblocking(False)

    def visits(self) -> int:
        """How often somebody came since the last time."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            count += len(os.read(self._inotify, 1 << 16)) > 0
        for server in (self._server, self._udp):
            while select.select([server], [], [], 0)[0]:
                count += 1
                if server is self._server:
                    server.accept()[0].close()
                else:
                    server.recv(65536)
        return count

    def close(self) -> None:
        os.close(self._inotify)
        self._server.close()
        self._udp.close()


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    made = Canary(tmp_path_factory.mktemp("canary") / "cage")
    made.visits()
    yield made
    made.close()


def alias_movie(folder: Path, canary: Canary) -> bytes:
    """A QuickTime file whose media lie in another file (`dref`, a Macintosh alias with an absolute path)."""
    source = make_video(folder / "plain.mov", "testsrc2=size=64x48:rate=10:duration=0.5")
    path = os.fsencode(canary.video)
    path += b"\0" * (len(path) % 2)
    record = bytes(10) + bytes([0]) + bytes(27) + bytes(12)
    record += bytes([len(canary.video.name)]) + canary.video.name.encode().ljust(63, b"\0") + bytes(16)
    record += struct.pack(">HH", 0, 0) + bytes(16)
    record += struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0xFFFF, 0) + bytes(64)
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    return with_box(source.read_bytes(), b"dref", struct.pack(">II", 0, 1) + entry)


def with_box(body: bytes, name: bytes, payload: bytes) -> bytes:
    """An MP4 in which the boxes `name` hold something else; what contains them grows."""
    out = b""
    while len(body) >= 8:
        size, kind = struct.unpack(">I4s", body[:8])
        inner, body = body[8:size], body[size:]
        if kind == name:
            inner = payload
        elif kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            inner = with_box(inner, name, payload)
        out += struct.pack(">I4s", 8 + len(inner), kind) + inner
    return out + body


def reference_movie(canary: Canary) -> bytes:
    """A QuickTime reference movie: nothing but the address of another."""
    url = f"file://{canary.video}".encode() + b"\0"
    rdrf = struct.pack(">I4s", 20 + len(url), b"rdrf") + struct.pack(">I4sI", 0, b"url ", len(url)) + url
    rmda = struct.pack(">I4s", 8 + len(rdrf), b"rmda") + rdrf
    rmra = struct.pack(">I4s", 8 + len(rmda), b"rmra") + rmda
    return (
        struct.pack(">I4s4sI4s", 20, b"ftyp", b"qt  ", 0, b"qt  ")
        + struct.pack(">I4s", 8 + len(rmra), b"moov")
        + rmra
    )


def ordered_chapters(folder: Path) -> bytes:
    """A Matroska file that says that its next segment is another file (by name, in its tags and its info)."""
    meta = folder / "chapters.txt"
    meta.write_text(";FFMETADATA1\ntitle=canary\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=canary.mp4\n")
    source = make_video(folder / "chapters.mkv", "testsrc2=size=64x48:rate=10:duration=0.5")
    run_ffmpeg(
        "-i", str(source), "-i", str(meta), "-map_metadata", "1", "-c", "copy", str(folder / "ordered.mkv")
    )
    return (folder / "ordered.mkv").read_bytes().replace(b"canary.mp4", b"canary.mp4")


def baits(folder: Path, canary: Canary) -> dict[str, bytes]:
    """Name -> content of files that would lead a trusting reader to the canary."""
    file, text, web = str(canary.video), str(canary.text), f"http://127.0.0.1:{canary.port}/a"
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="{web}"\n'
    hls = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:5\n{}#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
    mpd = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet '
        'mimeType="video/mp4"><Representation id="1" bandwidth="1" width="64" height="48"><BaseURL>{}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    )
    sdp = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=video {canary.port} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    )
    svg = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'
    imf = (
        '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>urn:uuid:'
        "00000000-0000-4000-8000-000000000001</Id><ContentTitle>x</ContentTitle><EditRate>25 1</EditRate>"
        "<SegmentList></SegmentList></CompositionPlaylist>"
    )
    assets = (
        '<?xml version="1.0"?><AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM"><AssetList><Asset><Id>'
        "urn:uuid:00000000-0000-4000-8000-000000000001</Id><ChunkList><Chunk><Path>{}</Path></Chunk></ChunkList></Asset>"
        "</AssetList></AssetMap>"
    )
    texts = {
        "concat-file": f"ffconcat version 1.0\nfile '{file}'\n",
        "concat-web": f"ffconcat version 1.0\nfile '{web}'\n",
        "concat-data": f"ffconcat version 1.0\nfile 'subfile,,start,0,end,99,,:{text}'\n",
        "hls-file": hls.format("", f"file://{file}"),
        "hls-relative": hls.format("", os.path.relpath(file, folder)),
        "hls-web": hls.format("", web),
        "hls-crypto": hls.format(key, f"crypto+file://{file}"),
        "hls-map": hls.format(f'#EXT-X-MAP:URI="{text}"\n', file),
        "hls-behind-a-header": "\0\0\0\x18ftypisom" + hls.format("", web),
        "hls-concat": hls.format("", f"concat:{text}|{text}"),
        "dash-file": mpd.format(f"file://{file}"),
        "dash-web": mpd.format(web),
        "webm-dash": mpd.format(file).replace("video/mp4", "video/webm"),
        "sdp": sdp,
        "rtsp": f"rtsp://127.0.0.1:{canary.port}/x\n",
        "redirect": f"[Reference]\r\nRef1={web}\r\n",
        "asx": f'<asx version="3.0"><entry><ref href="{web}"/></entry></asx>',
        "pls": f"[playlist]\nFile1={file}\nNumberOfEntries=1\n",
        "wpl": f'<?wpl version="1.0"?><smil><body><seq><media src="{file}"/></seq></body></smil>',
        "smil": f'<smil><body><video src="{web}"/></body></smil>',
        "lavfi": f"movie={file}",
        "lavfi-text": f"color=s=64x48,drawtext=textfile={text}",
        "imf": imf,
        "imf-map": assets.format(file),
        "vobsub": f"# VobSub index file, v7\nsize: 64x48\ntimestamp: 00:00:00:000, filepos: 000000000\n{file}\n",
        "svg": svg.format(f'<image xlink:href="file://{file}" width="64" height="48"/>'),
        "svg-entity": f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file://{text}">]>' + svg.format("<text>&x;</text>"),
        "subtitles": f"[Script Info]\nScriptType: v4.00+\n[Fonts]\nfontname: {text}\n",
        "avisynth": f'DirectShowSource("{file}")\n',
        "vpy": f"import os; open({text!r}).read()\n",
        "image-pattern": "x",
        "ffmetadata": f";FFMETADATA1\ntitle={file}\n",
        "real-text": f'<window type="generic"><a href="{web}">x</a></window>',
        "mpls": f"MPLS0200{file}",
        "dvd": f"DVDVIDEO-VMG{file}",
    }
    made = {name: body.encode("latin-1", "replace") for name, body in texts.items()}
    made["mov-dref"] = alias_movie(folder, canary)
    made["mov-reference"] = reference_movie(canary)
    made["mkv-chapters"] = ordered_chapters(folder)
    return made


NAMES = ("{}.mp4", "{}.mkv", "{}.ts")
# Names that a reader could take for a protocol, a pattern or an option.
TELLING_NAMES = (
    "concat:{canary}|{canary}.mp4", "subfile,,start,0,end,0,,:x.mp4", "data:text,x.mp4", "crypto:x.mp4",
    "http:x.mp4", "%03d.mp4", "*.mp4", "x.m3u8", "x.mpd", "x.sdp", "x.ffconcat", "-i.mp4", "tcp:127.0.0.1.mp4",
    "x.idx", "x.MLV", "x.mpls", "x.avs", "x.vpy", "x.pls", "x.ram", "x.smil",
)  # fmt: skip


def tries(path: Path, scratch: Path) -> dict[str, Callable[[], object]]:
    """Everything of ours that reads a file that a stranger may have made."""

    def extract() -> None:
        with open_video(path, Uniform(num_frames=2), size=32, timeout_seconds=20) as reader:
            list(reader)

    def keyframes() -> None:
        with open_video(path, Keyframes(), size=32, timeout_seconds=20) as reader:
            list(reader)

    return {
        "extract": extract,
        "keyframes": keyframes,
        "thumbnail": lambda: frame_at(path, 0.2),
        "clip": lambda: cut_clip(path, scratch / "clip.mp4", start_seconds=0, end_seconds=0.3),
        "image": lambda: read_image(path, size=32),
        # A look at the first bytes refuses most baits before ffmpeg sees them; it must not be what they depend on.
        "ffmpeg": lambda: subprocess.run(
            graph.probe_command(path), stdin=subprocess.DEVNULL, capture_output=True, timeout=30
        ),
    }


def visitors(path: Path, canary: Canary, scratch: Path) -> list[str]:
    """Which of our readers led to the canary."""
    found = []
    for name, attempt in tries(path, scratch).items():
        with contextlib.suppress(VtrError):
            attempt()
        (scratch / "clip.mp4").unlink(missing_ok=True)
        if canary.visits():
            found.append(name)
    return found


@pytest.mark.slow
def test_no_content_leads_outside(canary: Canary, tmp_path: Path) -> None:
    made = baits(tmp_path, canary)
    led = {}
    for name, body in made.items():
        for pattern in NAMES[:1] if name in ("image-pattern",) else NAMES:
            path = tmp_path / pattern.format(name)
            path.write_bytes(body)
            canary.visits()
            led[path.name] = visitors(path, canary, tmp_path)
    assert {name: who for name, who in led.items() if who} == {}
    print(f"{len(led)} files of {len(made)} kinds, 6 readers each: none opened anything else")


@pytest.mark.slow
def test_no_name_leads_outside(canary: Canary, tmp_path: Path) -> None:
    video = make_video(tmp_path / "plain.mp4", "testsrc2=size=64x48:rate=10:duration=0.5").read_bytes()
    led = {}
    for name in TELLING_NAMES:
        path = tmp_path / name.format(canary="canary").replace("/", "_")
        path.write_bytes(video)
        canary.visits()
        led[name] = visitors(path, canary, tmp_path)
    assert {name: who for name, who in led.items() if who} == {}


def plain_ffmpeg(path: Path, *options: str, canary: Canary) -> bool:
    """Whether ffmpeg as it comes, with every protocol and no list of demuxers, opens the canary."""
    protocols = "file,http,tcp,crypto,data,subfile,concat,rtp,udp"
    command = [ffmpeg_binary(), "-v", "quiet", "-nostdin", "-protocol_whitelist", protocols, *options]
    child = subprocess.Popen(
        [*command, "-i", str(path), "-frames:v", "1", "-f", "null", "-"], stdin=subprocess.DEVNULL
    )
    deadline, has_ended = time.monotonic() + 20, False
    while not (came := canary.visits() > 0) and not has_ended and time.monotonic() < deadline:
        has_ended = child.poll() is not None  # then one more look
        time.sleep(0.02)
    child.kill()
    child.wait()
    return came


# The bait that a plain ffmpeg takes, and the options it needs for that.
TAKEN: dict[str, tuple[str, ...]] = {
    "concat-file": ("-safe", "0"),
    "concat-web": ("-safe", "0"),
    "hls-file": ("-f", "hls", "-allowed_extensions", "ALL", "-extension_picky", "0"),
    "hls-web": ("-f", "hls", "-allowed_extensions", "ALL", "-extension_picky", "0"),
    "dash-file": (),
    "dash-web": (),
    "lavfi": ("-f", "lavfi"),
    "mov-dref": ("-f", "mov", "-enable_drefs", "1", "-use_absolute_path", "1"),
}


@pytest.mark.slow
def test_the_bait_works_on_a_reader_that_trusts(canary: Canary, tmp_path: Path) -> None:
    made = baits(tmp_path, canary)
    for name, options in TAKEN.items():
        path = tmp_path / f"{name}.bait"
        path.write_bytes(made[name])
        canary.visits()
        source = Path(made[name].decode()) if name == "lavfi" else path
        assert plain_ffmpeg(source, *options, canary=canary), name
        time.sleep(0.1)


def test_our_demuxers_are_those_of_this_ffmpeg_that_open_one_file() -> None:
    done = subprocess.run(
        [ffmpeg_binary(), "-hide_banner", "-demuxers"], capture_output=True, text=True, check=True
    )
    known = {
        name
        for line in done.stdout.splitlines()
        if (row := re.match(r" D[ d]*\s+(\S+)", line))
        for name in row[1].split(",")
    }
    ours = set(DEMUXERS.split(","))
    assert len(known) > 300
    assert not ours & OPEN_OTHERS
    assert not {name for name in ours if name.endswith("_pipe")}
    assert ours - known <= {"webm", "mp4", "m4a", "3gp", "3g2", "mj2"}, "the names of one demuxer"
