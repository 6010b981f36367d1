"""Pieces that several sections of the page share: legends, numbers as text, videos by name and picture."""

from __future__ import annotations

from collections.abc import Sequence

from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationResult
from vtrcli.evaluation.report.charts import NUM_COLORS
from vtrcli.html import Html, join, picture_uri, shortened, tag
from vtrcli.ranking.evaluate import Evaluation
from vtrcli.ranking.methods import METHODS, MethodName
from vtrcli.ranking.metrics import Direction
from vtrcli.store.frames import frames_of, open_frame
from vtrcli.store.reader import FeatureStore

DIRECTIONS: tuple[Direction, ...] = ("t2v", "v2t")
DIRECTION_NAMES: dict[Direction, str] = {"t2v": "Text to video", "v2t": "Video to text"}
MAX_TEXT_CHARACTERS = 240
MAX_ID_CHARACTERS = 90
LONGEST_SIDE = 160
MAX_THUMBNAILS = 60


def section(title: str, how_to_read: str, *content: object) -> Html:
    """A part of the page with one sentence that says how to read it."""
    return tag("section", tag("h2", title), tag("p", how_to_read, class_="read"), *content)


def directions(result: EvaluationResult) -> tuple[Direction, ...]:
    """Those that have plain numbers; a run that does not list all pairs has one."""
    return tuple(direction for direction in DIRECTIONS if result.evaluations[0].of(direction))


def chart_pair(charts: Sequence[tuple[str, Html]], legend_: Html) -> Html:
    """Charts side by side (one below the other on a phone) under one legend."""
    panels = [tag("div", tag("h3", title), chart) for title, chart in charts]
    return join([legend_, tag("div", *panels, class_="charts")])


def color_of(method: MethodName) -> int:
    """Each method has its colour wherever it is drawn; plain scores have the first one to themselves, and beyond the
    last the others come again."""
    number = list(METHODS).index(method)
    return 1 + (number - 1) % (NUM_COLORS - 1) if number else 0


def label(evaluation: Evaluation, inputs: EvaluationInputs) -> str:
    """What a row, a line or a bar of this evaluation is called."""
    if evaluation.method == "none":
        return "plain"
    parts: list[str] = [evaluation.method]
    if evaluation.temperature is not None:
        parts.append(f"T\u00a0=\u00a0{evaluation.temperature:g}")
    if evaluation.uses_bank and inputs.bank is not None:
        parts.append(f"bank of {inputs.bank.shape[0]:,} texts")
    return ", ".join(parts)


def legend(evaluations: Sequence[Evaluation], inputs: EvaluationInputs) -> Html:
    """Colour and name of each evaluation."""
    return legend_of([(label(each, inputs), color_of(each.method), each.uses_bank) for each in evaluations])


def legend_of(entries: Sequence[tuple[str, int, bool]]) -> Html:
    """(name, colour, dashed) of each line."""
    return tag(
        "ul",
        *(tag("li", swatch(color, dashed=dashed), name) for name, color, dashed in entries),
        class_="legend",
    )


def swatch(color: int, *, dashed: bool = False) -> Html:
    """A short piece of line in a series' colour."""
    kind = "swatch dashed" if dashed else "swatch"
    return tag("span", class_=kind, style=f"border-color: var(--series-{color})")


def percent(value: float) -> str:
    """One decimal, as tables in papers have it."""
    return f"{value:.1f}"


def signed(value: float) -> str:
    """One decimal with its sign."""
    return f"{value:+.1f}".replace("-", "−")


def with_interval(value: float, interval: tuple[float, float] | None) -> Html:
    """A percentage with its interval below."""
    if interval is None:
        return tag("span", percent(value))
    return join([percent(value), tag("small", f"{percent(interval[0])} – {percent(interval[1])}")])


def rank_text(rank: float) -> str:
    """1,234 or, in a tie, 1.5."""
    return f"{rank:,.1f}".removesuffix(".0")


class Videos:
    """What a text or video is called, and what it looks like."""

    def __init__(self, inputs: EvaluationInputs) -> None:
        self._inputs = inputs
        self._thumbnails = Thumbnails(inputs.store)

    def name(self, video: int) -> str:
        """Its id; its column where no ids are known."""
        if not self._inputs.video_ids:
            return f"video {video}"
        return shortened(self._inputs.video_ids[video], num_characters=MAX_ID_CHARACTERS)

    def text(self, text: int) -> str:
        """The text itself; its row where the texts are not known."""
        if not self._inputs.texts:
            return f"text {text}"
        return shortened(self._inputs.texts[text], num_characters=MAX_TEXT_CHARACTERS)

    def picture(self, video: int) -> Html:
        """A thumbnail, or nothing."""
        uri = self._thumbnails.of(self._inputs.video_ids[video]) if self._inputs.video_ids else None
        return tag("img", src=uri, alt="", class_="thumb") if uri else Html()


class Thumbnails:
    """One picture per video, made once, and none after the first `MAX_THUMBNAILS` videos: the page stays small."""

    def __init__(self, store: FeatureStore | None) -> None:
        self._store = store
        self._made: dict[str, str | None] = {}

    def of(self, video_id: str) -> str | None:
        """A data URI of the middle frame; None where the store has none.

        Raises:
            StoreError: the kept frames are damaged.
        """
        if video_id not in self._made:
            if self._store is None or len(self._made) >= MAX_THUMBNAILS:
                return None
            self._made[video_id] = _thumbnail(self._store, video_id)
        return self._made[video_id]


def _thumbnail(store: FeatureStore, video_id: str) -> str | None:
    location = store.videos[video_id]
    images = frames_of(store.path, store.shards[location.shard], location)
    if not images:
        return None
    try:
        with open_frame(images[len(images) // 2]) as image:
            return picture_uri(image, longest_side=LONGEST_SIDE)
    except OSError:  # a page without one picture is better than no page
        return None
