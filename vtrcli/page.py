"""The frame of a self-contained page: its head, what it forbids itself, and the look that all pages share."""

from __future__ import annotations

from vtrcli.html import Html, join, tag

# No script runs and nothing is loaded, from this machine or another one; pictures lie in the page itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)
# System fonts, light and dark, readable on a phone.
BASE_STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --panel: #f6f7f9; --ink: #1c2128; --quiet: #5b6470; --line: #dfe3e8; --accent: #1f6feb;
  --note: #fff6dc; --worse: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171c; --panel: #1c2027; --ink: #e4e7eb; --quiet: #9aa4b0; --line: #333a44; --accent: #6cb0ff;
    --note: #37300f; --worse: #ff8f85;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .25rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p { margin: .25rem 0 .75rem; }
.quiet { color: var(--quiet); }
.notes { background: var(--note); border-radius: .6rem; padding: .75rem 1.25rem; margin: 1rem 0; }
.notes ul { margin: 0; padding-left: 1.1rem; }
footer { margin-top: 3rem; color: var(--quiet); font-size: .875rem; }
"""


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
        tag("style", Html(BASE_STYLE + style)),
    )
