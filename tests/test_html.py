from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from vtrcli.html import Html, escaped, join, shortened, table, tag


def test_text_is_escaped_and_html_is_not() -> None:
    assert tag("p", "<b>", Html("<i>")) == "<p>&lt;b&gt;<i></p>"
    assert tag("a", title="\"x\" & 'y'") == '<a title="&quot;x&quot; &amp; &#x27;y&#x27;"></a>'


def test_an_attribute_of_none_is_left_out_and_underscores_become_html() -> None:
    assert tag("img", src="data:,", alt=None, class_="thumb", aria_label="x") == (
        '<img src="data:," class="thumb" aria-label="x">'
    )


def test_control_characters_and_surrogates_are_seen_instead_of_written() -> None:
    assert escaped("a\x00b\x1b[31m\x85\udce9") == "a\\u0000b\\u001b[31m\\u0085\\udce9"
    assert escaped("two\nlines\tand a tab") == "two lines and a tab"


@given(st.text(st.characters()))
def test_whatever_the_text_it_makes_no_element_and_can_be_written(value: str) -> None:
    class Seen(HTMLParser):
        tags: list[str]

        def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append(name)

    parser = Seen()
    parser.tags = []
    page = join([tag("p", value, title=value)])
    parser.feed(page)
    parser.close()
    assert parser.tags == ["p"]
    assert page.encode("utf-8")


def test_numbers_of_a_table_are_aligned_and_it_can_be_scrolled() -> None:
    written = table(["name", "R@1"], [["<a>", "48.0"]])
    assert '<th class="number">R@1</th>' in written
    assert '<td>&lt;a&gt;</td><td class="number">48.0</td>' in written
    assert written.startswith('<div class="scroll" tabindex="0">')


def test_a_long_text_is_cut() -> None:
    assert shortened("short", num_characters=5) == "short"
    assert shortened("a long text", num_characters=7) == "a long…"
