"""Text as people save it, read alike everywhere: captions, queries, lists of paths, `vtr.toml`.

UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one; lines end with LF, CRLF or CR. Anything else is
refused with a guess at what it is: a guess that is acted on is how wrong words come into a result unseen.
"""

from __future__ import annotations

import codecs
import io
import itertools
import os
from collections.abc import Iterable, Iterator

from vtrcli.errors import InputError

# UTF-32's mark begins like UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
ALLOWED = "text is UTF-8, or UTF-16 with its byte order mark"
_SHOWN_CHARACTERS = 24
# In GBK's Chinese both bytes of a character are above 127; in Western text such pairs are rare.
_SHARE_OF_PAIRS = 0.8
# Of the bytes of UTF-16, where the text is mostly ASCII: half are zero. Names of a list are longer than two bytes.
_SHARE_OF_ZEROS = 0.3


def decode_text(content: bytes, *, name: str) -> str:
    """The text of a whole file, without its byte order mark; every line end becomes a newline.

    Args:
        name: what is read, for the message.

    Raises:
        InputError: another encoding, named as what it may be.
    """
    return "".join(decoded_lines([content], name=name))


def decoded_lines(chunks: Iterable[bytes], *, name: str) -> Iterator[str]:
    """Lines, each with its newline and as soon as it has come.

    Args:
        chunks: a binary file (its lines, as they come), or the pieces of one.
        name: what is read, for the message.

    Raises:
        InputError: as `decode_text`, when the line is reached that is not text.
    """
    pieces = iter(chunks)
    first = next(pieces, b"")
    codec, num_mark_bytes = _encoding(first)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(codec)(), translate=True)
    line, number = "", 1
    for piece, is_last in itertools.chain(
        [(first[num_mark_bytes:], False)], ((piece, False) for piece in pieces), [(b"", True)]
    ):
        try:
            text = line + decoder.decode(piece, final=is_last)
        except UnicodeDecodeError as cause:
            number += cause.object[: cause.start].count(b"\n")
            raise _not_text(cause, name=name, line=number) from cause
        *whole, line = text.split("\n")
        for text in whole:
            yield _without_zeros(text, name=name, line=number) + "\n"
            number += 1
    if line:
        yield _without_zeros(line, name=name, line=number)


def path_list(content: bytes, *, name: str) -> list[bytes]:
    """The paths of a list: one a line, or each ended by a zero byte (`find -print0`); blank ones are left out.

    Paths are bytes, and stay as they are. A list that was saved as UTF-16 is turned into UTF-8.

    Raises:
        InputError: UTF-16 without a byte order mark, or text that is not UTF-8 and names no file that is there.
    """
    codec, num_mark_bytes = _encoding(content)
    body = content[num_mark_bytes:] if codec == "utf-8" else decode_text(content, name=name).encode()
    if _is_unmarked_utf16(body):
        raise _unmarked(name, line=1)
    if b"\0" in body:
        paths = body.split(b"\0")
    else:
        body = body.replace(b"\r\n", b"\n")
        paths = body.split(b"\n" if b"\n" in body else b"\r")
    paths = [path for path in paths if path.strip()]
    errors = [error for path in paths if (error := _decode_error(path)) is not None]
    if errors and not any(os.path.lexists(error.object) for error in errors):
        raise _not_text(errors[0], name=name, line=1 + paths.index(errors[0].object))
    return paths


def _encoding(content: bytes) -> tuple[str, int]:
    """Codec by the byte order mark, and the mark's length."""
    return next(((codec, len(mark)) for mark, codec in _MARKS if content.startswith(mark)), ("utf-8", 0))


def _is_unmarked_utf16(content: bytes) -> bool:
    """Whether zero bytes stand as in UTF-16, and not as the ends of paths."""
    zeros = [place for place, byte in enumerate(content[:4096]) if byte == 0]
    if not zeros or len(content) % 2:
        return False
    newlines = (content.find(b"\n\0"), content.find(b"\0\n"))
    if any(place >= 0 and place % 2 == 0 for place in newlines):
        return True
    alike = len({place % 2 for place in zeros}) == 1
    names = content.strip(b"\0").split(b"\0")
    one_letter_names = all(len(piece) == 1 for piece in names) and not {b"/", b".", b"\\"} & set(names)
    return (
        alike
        and len(names) > 1
        and len(zeros) > _SHARE_OF_ZEROS * min(len(content), 4096)
        and not one_letter_names
    )


def _decode_error(path: bytes) -> UnicodeDecodeError | None:
    try:
        path.decode("utf-8")
    except UnicodeDecodeError as error:
        return error
    return None


def _without_zeros(text: str, *, name: str, line: int) -> str:
    if "\0" in text:
        raise _unmarked(name, line=line)
    return text


def _unmarked(name: str, *, line: int) -> InputError:
    return InputError(
        f"{name}: line {line} holds zero bytes: it may be UTF-16 without a byte order mark",
        allowed=ALLOWED,
        to_do="save it as UTF-8, for example with `iconv -f UTF-16LE -t UTF-8`",
    )


def _not_text(error: UnicodeDecodeError, *, name: str, line: int) -> InputError:
    start = error.object.rfind(b"\n", 0, error.start) + 1
    end = error.object.find(b"\n", error.start)
    broken = error.object[start : end if end >= 0 else None]
    if not error.encoding.replace("-", "").startswith("utf8"):
        called = error.encoding.upper()
        return InputError(
            f"{name}: line {line} is damaged: its byte order mark says {called}",
            allowed=ALLOWED,
            to_do="save it as UTF-8",
        )
    codec, called = _guess(broken)
    shown = broken.decode(codec, errors="replace").strip()
    shown = shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "…"
    return InputError(
        f"{name}: line {line} is not UTF-8: it may be {called} ({shown!r})",
        allowed=ALLOWED,
        to_do=f"save it as UTF-8, for example with `iconv -f {called} -t UTF-8`",
    )


def _guess(line: bytes) -> tuple[str, str]:
    """Codec and usual name of a line that is not UTF-8: Chinese where high bytes come in pairs, else Western."""
    high = [place for place, byte in enumerate(line) if byte >= 0x80]
    paired = [place for place in high if {place - 1, place + 1} & set(high)]
    if len(paired) > _SHARE_OF_PAIRS * len(high) and _decodes(line, "gbk"):
        return "gbk", "GBK"
    return ("cp1252", "CP1252") if _decodes(line, "cp1252") else ("latin-1", "LATIN1")


def _decodes(line: bytes, codec: str) -> bool:
    try:
        line.decode(codec)
    except UnicodeDecodeError:
        return False
    return True
