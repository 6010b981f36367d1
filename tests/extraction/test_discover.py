"""What counts as a video, and what is passed over, without opening anything that could block."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.errors import InputError, UsageError
from vtrcli.extraction.discover import Part, discover

GIF = b"GIF89a" + bytes(20)


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found_names(root: Path) -> list[str]:
    return [candidate.path.relative_to(root).as_posix() for candidate in discover([root]).candidates]


def test_folders_are_searched_below_and_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "sub/a.mkv", "a.MOV"):
        touch(tmp_path / name)
    assert found_names(tmp_path) == ["a.MOV", "b.mp4", "sub/a.mkv"]


def test_other_and_hidden_files_are_counted_not_tried(tmp_path: Path) -> None:
    for name in ("notes.txt", ".hidden.mp4", "._a.mp4", "a.mp4", ".git/b.mp4"):
        touch(tmp_path / name)
    found = discover([tmp_path])
    assert [candidate.path.name for candidate in found.candidates] == ["a.mp4"]
    assert found.num_ignored == 3


def test_a_video_under_a_wrong_name_is_found_by_its_content(tmp_path: Path) -> None:
    touch(tmp_path / "clip.dat", GIF)
    assert found_names(tmp_path) == ["clip.dat"]


def test_a_named_file_is_always_tried(tmp_path: Path) -> None:
    path = touch(tmp_path / "notes.txt")
    assert [candidate.path for candidate in discover([path]).candidates] == [path]


def test_a_file_named_twice_is_tried_once(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.mp4")
    assert len(discover([path, tmp_path, tmp_path / "." / "a.mp4"]).candidates) == 1


def test_a_feature_store_inside_the_folder_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "store" / "store.json", b'{"format": "vtr-store", "version": 1}')
    touch(tmp_path / "store" / "x.mp4")
    touch(tmp_path / "a.mp4")
    assert found_names(tmp_path) == ["a.mp4"]


def test_only_our_own_stores_are_passed_over_and_a_store_may_lie_in_the_folder_itself(tmp_path: Path) -> None:
    touch(tmp_path / "shop" / "store.json", b'{"shop": 1}')
    touch(tmp_path / "shop" / "a.mp4")
    touch(tmp_path / "store.json", b'{"format": "vtr-store", "version": 1}')
    touch(tmp_path / "frames" / "x.mp4")
    touch(tmp_path / "b.mp4")
    assert found_names(tmp_path) == ["b.mp4", "shop/a.mp4"]


def test_a_name_that_no_file_can_have_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        discover([tmp_path / ("é" * 300)])


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
def test_a_loop_of_links_ends_and_linked_folders_are_searched_once(tmp_path: Path) -> None:
    touch(tmp_path / "sub" / "a.mp4")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "self.mp4").symlink_to(tmp_path / "self.mp4")
    found = discover([tmp_path])
    assert [candidate.path.name for candidate in found.candidates] == ["a.mp4"]
    assert [(path.name, reason) for path, reason, _ in found.problems] == [("self.mp4", "not-found")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe")
    found = discover([tmp_path])
    assert [(path.name, reason) for path, reason, _ in found.problems] == [("pipe.mp4", "not-a-file")]


def test_a_missing_path_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        discover([tmp_path / "no.mp4"])
    assert str(caught.value) == (
        f"{tmp_path / 'no.mp4'} does not exist; files, folders, or - for a list on stdin; "
        "check the path; a name that begins with a dash needs ./ before it"
    )


def test_a_missing_path_of_a_list_is_a_row_among_the_problems(tmp_path: Path) -> None:
    found = discover([tmp_path / "no.mp4"], must_exist=False)
    assert [reason for _, reason, _ in found.problems] == ["not-found"]


# ---- what is no video, although it looks like one


def boxes(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + bytes(16)


PHOTOS_AND_MUSIC = {
    "photo.heic": boxes(b"heic"),
    "photo.HIF": boxes(b"heix"),
    "photo.avif": boxes(b"avif"),
    "photo.cr3": boxes(b"crx "),
    "song.mp3": b"ID3" + bytes(20),
    "song.m4a": boxes(b"mp42"),
    "song.flac": b"fLaC" + bytes(20),
    "song.wma": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(20),
    "song.mka": b"\x1a\x45\xdf\xa3" + bytes(20),
    "song.ogg": b"OggS" + bytes(24) + b"\x01vorbis",
    "subtitles.sub": b"\0\0\x01\xba" + bytes(20),
    "list.m3u8": b"#EXTM3U\nclip.mp4\n",
    "list.pls": b"[playlist]\nFile1=clip.mp4\n",
    "component.ts": b"export const answer: number = 42;\n",
    "types.d.mts": "// größer\n".encode(),
    "empty.ts": b"",
    "words_de.ts": b'<?xml version="1.0"?>\n<!DOCTYPE TS><TS></TS>\n',
}


def test_photos_music_lists_and_sources_in_a_folder_are_not_tried(tmp_path: Path) -> None:
    for name, content in PHOTOS_AND_MUSIC.items():
        touch(tmp_path / name, content)
    touch(tmp_path / "clip.mp4")
    found = discover([tmp_path])
    assert [candidate.path.name for candidate in found.candidates] == ["clip.mp4"]
    assert found.num_ignored == len(PHOTOS_AND_MUSIC) and found.problems == []


def test_those_that_are_named_are_tried(tmp_path: Path) -> None:
    paths = [touch(tmp_path / name, content) for name, content in PHOTOS_AND_MUSIC.items()]
    assert {candidate.path for candidate in discover(paths).candidates} == set(paths)


def test_a_stream_or_a_damaged_one_called_ts_is_tried(tmp_path: Path) -> None:
    touch(tmp_path / "stream.ts", (b"G" + bytes(187)) * 8)
    touch(tmp_path / "damaged.ts", bytes(range(256)) * 8)
    assert found_names(tmp_path) == ["damaged.ts", "stream.ts"]


# ---- what the user leaves out


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        ((), ["2019/raw/b.mp4", "2019/c.mov", "a.mp4", "raw.mp4"]),
        (("raw",), ["2019/c.mov", "a.mp4", "raw.mp4"]),
        (("RAW/",), ["2019/c.mov", "a.mp4", "raw.mp4"]),
        (("*.mp4",), ["2019/c.mov"]),
        (("2019/*",), ["a.mp4", "raw.mp4"]),
        (("2019", "a.mp4"), ["raw.mp4"]),
        (("raw*",), ["2019/raw/b.mp4", "2019/c.mov", "a.mp4"]),
        (("raw*/",), ["2019/c.mov", "a.mp4", "raw.mp4"]),
    ],
)
def test_patterns_leave_out_files_and_folders(
    tmp_path: Path, exclude: tuple[str, ...], expected: list[str]
) -> None:
    root = tmp_path / "raw" / "videos"  # what lies above the folder does not count
    for name in ("a.mp4", "2019/raw/b.mp4", "2019/c.mov", "raw.mp4"):
        touch(root / name)
    found = discover([root], exclude=exclude)
    assert {candidate.path.relative_to(root).as_posix() for candidate in found.candidates} == set(expected)
    assert (found.num_excluded > 0) == bool(exclude)


def test_an_absolute_pattern_means_a_place(tmp_path: Path) -> None:
    for name in ("a.mp4", "raw/b.mp4"):
        touch(tmp_path / name)
    found = discover([tmp_path], exclude=[str(tmp_path / "raw")])
    assert [item.path.name for item in found.candidates] == ["a.mp4"]


def test_a_pattern_also_takes_files_that_are_named(tmp_path: Path) -> None:
    paths = [touch(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    assert [item.path.name for item in discover(paths, exclude=["a*"]).candidates] == ["b.mp4"]


# ---- playlists


def test_a_named_list_of_files_that_are_named_too_is_passed_over(tmp_path: Path) -> None:
    parts = [touch(tmp_path / f"part{number}.ts") for number in (1, 2)]
    media = touch(tmp_path / "media.m3u8", b"#EXTM3U\r\n#EXTINF:4,\r\npart1.ts\r\n\r\npart2.ts\r\n")
    main = touch(tmp_path / "main.m3u8", b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmedia.m3u8\n")
    listed = touch(tmp_path / "list.txt", b"ffconcat version 1.0\nfile 'part1.ts'\nfile part2.ts\n")
    found = discover([main, media, listed, *parts])
    assert [candidate.path for candidate in found.candidates] == parts and found.num_ignored == 3


@pytest.mark.parametrize(
    "content", [b"#EXTM3U\nhttps://example.org/1.ts\n", b"#EXTM3U\npart1.ts\ngone.ts\n", b"#EXTM3U\n"]
)
def test_a_named_list_of_anything_else_is_tried_and_so_refused(tmp_path: Path, content: bytes) -> None:
    paths = [touch(tmp_path / "part1.ts"), touch(tmp_path / "list.m3u8", content)]
    assert [candidate.path for candidate in discover(paths).candidates] == paths


# ---- downloads on their way


def test_a_download_waits_for_its_final_name(tmp_path: Path) -> None:
    for suffix in ("part", "crdownload", "tmp", "download", "!qB", "aria2", "PARTIAL", "opdownload"):
        touch(tmp_path / f"clip-{suffix}.mp4.{suffix}", GIF)
    touch(tmp_path / "notes.txt.tmp")
    touch(tmp_path / "aria.mp4")
    touch(tmp_path / "aria.mp4.aria2")
    touch(tmp_path / "firefox.mp4", b"")
    touch(tmp_path / "firefox.mp4.part", GIF)
    touch(tmp_path / "safari.mp4.download" / "Info.plist")
    touch(tmp_path / "safari.mp4.download" / "safari.mp4")
    touch(tmp_path / "whole.mp4")
    touch(tmp_path / "whole.mp4.part")  # left behind by somebody
    found = discover([tmp_path])
    assert [candidate.path.name for candidate in found.candidates] == ["whole.mp4"]
    # 7 named like one (aria2's own file holds notes), aria.mp4, Firefox's two, Safari's folder, the one left behind
    assert found.num_unfinished == 12
    assert [item.path.name for item in discover([tmp_path / "clip-part.mp4.part"]).candidates]


def test_files_that_are_still_written_are_left_for_later(tmp_path: Path) -> None:
    paths = [touch(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    assert [item.path for item in discover([tmp_path], not_yet={paths[0]}).candidates] == [paths[1]]


@given(names=st.sets(st.text("abé/", min_size=1, max_size=8), max_size=30), of=st.integers(1, 7))
def test_every_file_is_in_exactly_one_part_wherever_its_folder_is(names: set[str], of: int) -> None:
    parts = [Part(number, of) for number in range(1, of + 1)]
    for name in names:
        owners = [
            [part.has(root / f"v{name}.mp4", root) for part in parts] for root in (Path("/a"), Path("/mnt/b"))
        ]
        assert sum(owners[0]) == 1 and owners[0] == owners[1]


def test_parts_are_of_about_one_size(tmp_path: Path) -> None:
    sizes = [
        sum(Part(number, 4).has(tmp_path / f"clip-{n:04d}.mp4", tmp_path) for n in range(1000))
        for number in (1, 2, 3, 4)
    ]
    assert sum(sizes) == 1000
    assert 200 < min(sizes) <= max(sizes) < 300


def test_files_of_other_parts_are_counted_not_tried(tmp_path: Path) -> None:
    for number in range(8):
        touch(tmp_path / f"{number}.mp4")
    found = [discover([tmp_path], part=Part(number, 3)) for number in (1, 2, 3)]
    assert sorted(candidate.path.name for part in found for candidate in part.candidates) == [
        f"{number}.mp4" for number in range(8)
    ]
    assert [part.num_others + len(part.candidates) for part in found] == [8, 8, 8]
    assert [part.num_ignored for part in found] == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "--part 3; two whole numbers, such as 3/16; write `--part 3/16`"),
        ("0/16", "--part 0/16; 1/N to N/N: the first of N parts to the last; write `--part 1/16`"),
        ("17/16", "--part 17/16; 1/N to N/N: the first of N parts to the last; write `--part 16/16`"),
        ("1/0", "--part 1/0; 1/N to N/N: the first of N parts to the last; write `--part 1/1`"),
    ],
)
def test_what_is_no_part_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Part.parse(text)
    assert str(caught.value) == message
