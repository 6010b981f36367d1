"""HTML by construction: whatever is not `Html` already is escaped; and the frame of a self-contained page: its head,
what it forbids itself, the look that all pages share. Knows nothing of what is shown.
"""

from __future__ import annotations

import base64
import html
import io
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_WITHOUT_END = {"img", "meta", "link"}
_SPACES = {"\t", "\n", "\r"}


class Html(str):
    """A string that may go into the page as it is."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """Text for an element or a quoted attribute.

    Control characters and lone surrogates (file names that are not UTF-8 have them) become visible escapes.
    """
    if isinstance(value, Html):
        return value
    visible = "".join(_visible(character) for character in str(value))
    return Html(html.escape(visible, quote=True))


def _visible(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cs"):
        return character
    return " " if character in _SPACES else f"\\u{ord(character):04x}"


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element. `class_` and `aria_label` become `class` and `aria-label`; an attribute of None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _WITHOUT_END:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """The children one after the other."""
    return Html("".join(escaped(child) for child in children))


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, num_text_columns: int = 1) -> Html:
    """A table that scrolls sideways where it is too wide; columns after the first `num_text_columns` hold numbers."""

    def cells(kind: str, values: Sequence[object]) -> Html:
        return join(
            tag(kind, value, class_=None if column < num_text_columns else "number")
            for column, value in enumerate(values)
        )

    body = join(tag("tr", cells("td", row)) for row in rows)
    whole = tag("table", tag("thead", tag("tr", cells("th", head))), tag("tbody", body))
    # Focus lets a keyboard scroll it.
    return tag("div", whole, class_="scroll", tabindex="0")


def picture_uri(image: Image.Image, *, longest_side: int) -> str:
    """A JPEG as a data URI, so that it lies in the page itself; `image` is made smaller in place."""
    image.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=78, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def shortened(value: str, *, num_characters: int) -> str:
    """The beginning of a long text."""
    return value if len(value) <= num_characters else value[: num_characters - 1].rstrip() + "…"


# No script runs and nothing is loaded, from this machine or another one; pictures lie in the page itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)
_STYLE = Path(__file__).with_name("page.css")


def document(title: str, body: Html, *, style: str) -> str:
    """A whole page in English; `style` is CSS that comes after what all pages share, and is trusted."""
    page = tag("html", _head(title, style), tag("body", body), lang="en")
    return str(join([Html("<!DOCTYPE html>\n"), page]))


def _head(title: str, style: str) -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        # Its quotation marks would be escaped.
        Html(f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{title} · vtr"),
        tag("style", Html("\n" + _STYLE.read_text(encoding="utf-8") + style)),
    )
