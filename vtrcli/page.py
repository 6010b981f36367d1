"""The frame of a self-contained page: its head, what it forbids itself, and the look that all pages share."""

from __future__ import annotations

from pathlib import Path

from vtrcli.html import Html, join, tag

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
