"""The console for results: what it is given is text, never markup and never a command to the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from vtrcli.cli.printable import printable


class PlainConsole(Console):
    """Names come from other people's files and stores, so every string, in tables too, passes `printable`."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else 200  # not wrapped to 80 columns when piped
        super().__init__(width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        """All strings that are printed or stand in a table go through here; `Text` objects do not."""
        return super().render_str(printable(text), **options)
