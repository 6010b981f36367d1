"""Text is read alike whatever saved it; what is no text is refused with a guess at what it may be."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.errors import InputError
from vtrcli.text_files import decode_text, decoded_lines, path_list

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0\ufeff"), min_size=1)
TRY = "text is UTF-8, or UTF-16 with its byte order mark; save it as UTF-8, for example with "


@given(lines=st.lists(TEXT), encoding=st.sampled_from(ENCODINGS), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_encoding_and_line_end_gives_the_same_lines(lines: list[str], encoding: str, end: str) -> None:
    content = "".join(line + end for line in lines).encode(encoding)
    expected = [line + "\n" for line in lines]
    assert list(decoded_lines(io.BytesIO(content), name="f")) == expected
    assert decode_text(content, name="f") == "".join(expected)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_both_byte_orders_are_read_by_their_mark(codec: str) -> None:
    assert decode_text("\ufeffa\r\né\n".encode(codec), name="f") == "a\né\n"


def test_a_line_is_given_before_the_next_has_come() -> None:
    given: list[bytes] = []

    def slowly() -> object:
        for piece in (b"\xef\xbb\xbfone\n", b"two\n"):
            given.append(piece)
            yield piece

    lines = decoded_lines(slowly(), name="f")  # type: ignore[arg-type]
    assert next(lines) == "one\n"
    assert len(given) == 1


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"one\ncaf\xe9\n", "2 is not UTF-8: it may be CP1252 ('café'); " + TRY + "`iconv -f CP1252 -t UTF-8`"),
        ("人在做饭\n".encode("gbk"), "1 is not UTF-8: it may be GBK ('人在做饭'); " + TRY + "`iconv -f GBK -t UTF-8`"),
        (b"caf\xe9 \x81", "1 is not UTF-8: it may be LATIN1 ('café \\x81'); " + TRY + "`iconv -f LATIN1 -t UTF-8`"),
        (
            "a dog\n".encode("utf-16-le"),
            "1 holds zero bytes: it may be UTF-16 without a byte order mark; "
            + TRY + "`iconv -f UTF-16LE -t UTF-8`",
        ),
        (
            b"\xff\xfea\0b",
            "1 is damaged: its byte order mark says UTF-16-LE; "
            "text is UTF-8, or UTF-16 with its byte order mark; save it as UTF-8",
        ),
    ],
)  # fmt: skip
def test_what_is_no_text_is_named_as_what_it_may_be(content: bytes, what: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_text(content, name="f.txt")
    assert str(caught.value) == f"f.txt: line {what}"


@pytest.mark.parametrize(
    "text", ["Ein Mädchen fährt Fahrrad über die Brücke", "où est passé le garçon", "“a dog” – running…"]
)
def test_western_text_is_not_taken_for_chinese(text: str) -> None:
    with pytest.raises(InputError, match="it may be CP1252"):
        decode_text(text.encode("cp1252"), name="f")


LISTS = {
    "lf": b"videos/a.mp4\nvideos/b.mp4\n",
    "no last newline": b"videos/a.mp4\nvideos/b.mp4",
    "crlf": b"videos/a.mp4\r\nvideos/b.mp4\r\n",
    "cr": b"videos/a.mp4\rvideos/b.mp4\r",
    "zero bytes": b"videos/a.mp4\0videos/b.mp4\0",
    "bom": b"\xef\xbb\xbfvideos/a.mp4\nvideos/b.mp4\n",
    "utf-16": "\ufeffvideos/a.mp4\r\nvideos/b.mp4\r\n".encode("utf-16-le"),
    "utf-16 big": "\ufeffvideos/a.mp4\nvideos/b.mp4\n".encode("utf-16-be"),
    "utf-32": "videos/a.mp4\nvideos/b.mp4\n".encode("utf-32"),
}


@pytest.mark.parametrize("content", LISTS.values(), ids=LISTS)
def test_a_list_is_read_alike_whatever_saved_it(content: bytes) -> None:
    assert path_list(content, name="list") == [b"videos/a.mp4", b"videos/b.mp4"]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["/\n", "/home/me/a.mp4", "视频/一.mp4\n视频/二.mp4\n", "a.mp4\r\nb.mp4\r\n"]
)
def test_a_list_in_utf16_without_its_mark_is_refused_and_never_split(text: str, codec: str) -> None:
    with pytest.raises(InputError, match="may be UTF-16 without a byte order mark"):
        path_list(text.encode(codec), name="list")


def test_short_names_between_zero_bytes_are_a_list() -> None:
    assert path_list(b"a\0b\0c\0", name="list") == [b"a", b"b", b"c"]
    assert path_list(b".\0", name="list") == [b"."]
    assert path_list(b"ab\0cd\0", name="list") == [b"ab", b"cd"]


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX")
def test_a_name_that_is_no_utf8_is_taken_if_it_is_there_and_explained_if_none_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        Path(os.fsdecode(b"caf\xe9.mp4")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    content = b"a.mp4\ncaf\xe9.mp4\ngone\xe9.mp4\n"
    assert path_list(content, name="list") == content.split()
    Path(os.fsdecode(b"caf\xe9.mp4")).unlink()
    with pytest.raises(InputError, match=r"list: line 2 is not UTF-8: it may be CP1252 \('café.mp4'\)"):
        path_list(content, name="list")
