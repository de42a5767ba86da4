"""Pictures made on the server: stacked bars and histograms. Widths are attributes of SVG, which the policy allows.

Each picture has a title that says in words what it shows; colours are classes, so that the style sheet owns them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_BAR_WIDTH = 600
_BAR = Markup(
    '<svg class="bar" viewBox="0 0 {width} 12" preserveAspectRatio="none" role="img" aria-label="{words}">'
    "<title>{words}</title>{parts}</svg>"
)
_SLIVER = 4  # units; a single failed device among thousands must still be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One part of a bar. Failed parts are hatched, so that they do not speak by colour alone."""

    count: int
    word: str
    colour: str
    hatched: bool = False


def bar(segments: Sequence[Segment]) -> Markup:
    """Draw parts of a whole side by side."""
    total = sum(segment.count for segment in segments)
    shown = [segment for segment in segments if segment.count]
    words = ", ".join(f"{segment.count:,} {segment.word}" for segment in shown) or "none"
    free = _BAR_WIDTH - _SLIVER * len(shown)
    parts, place = [], 0.0
    for segment in shown:
        width = _SLIVER + free * segment.count / total
        fill = "url(#hatch)" if segment.hatched else "currentColor"
        parts.append(
            Markup('<rect class="{}" fill="{}" x="{:.1f}" y="0" width="{:.1f}" height="12"/>').format(
                segment.colour, fill, place, max(width - 1, 1)
            )
        )
        place += width
    return _BAR.format(width=_BAR_WIDTH, words=words, parts=Markup("").join(parts))


def share_bar(count: int, largest: int, word: str) -> Markup:
    """Draw one count against the largest of its list."""
    width = _BAR_WIDTH * count / largest if largest else 0
    part = Markup('<rect class="info" fill="currentColor" x="0" y="0" width="{:.1f}" height="12"/>')
    return _BAR.format(width=_BAR_WIDTH, words=word, parts=part.format(max(width, _SLIVER) if count else 0))


def meter(value: float, limit: float, words: str, colour: str, mark: float | None = None) -> Markup:
    """Draw a value against the limit at which it decides, which is the right edge; ``mark`` is a line on the way."""
    share = min(max(value / limit, 0.0), 1.0) if limit > 0 else 0.0
    part = Markup('<rect class="{}" fill="currentColor" x="0" y="0" width="{:.1f}" height="12"/>')
    parts = [part.format(colour, max(_BAR_WIDTH * share, _SLIVER) if value > 0 else 0)]
    if mark is not None and 0 < mark < limit:
        place = _BAR_WIDTH * mark / limit
        parts.append(Markup('<rect class="mark" x="{:.1f}" y="0" width="3" height="12"/>').format(place))
    return _BAR.format(width=_BAR_WIDTH, words=words, parts=Markup("").join(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a plot; None is "not measured" and is left out, never drawn as 0."""

    label: str
    value: float | None
    text: str
    colour: str = "info"


_PLOT_WIDTH, _PLOT_HEIGHT, _TOP, _BOTTOM = 560, 170, 22, 20
COLUMNS_MAX = 12
_RECT = Markup('<rect class="{}" fill="currentColor" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"/>')
_TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>')


def columns(bars: Sequence[Column], title: str) -> Markup:
    """Draw values from 0, one column each, with its value above and its label below."""
    bars = bars[-COLUMNS_MAX:]
    largest = max((column.value for column in bars if column.value is not None), default=0.0) or 1.0
    step = _PLOT_WIDTH / max(len(bars), 1)
    width = min(step * 0.6, 56)
    floor = _PLOT_HEIGHT - _BOTTOM
    parts = [Markup('<line x1="0" x2="{}" y1="{}" y2="{}"/>').format(_PLOT_WIDTH, floor + 0.5, floor + 0.5)]
    for place, column in enumerate(bars):
        middle = step * (place + 0.5)
        height = max((floor - _TOP) * (column.value or 0) / largest, 1)
        if column.value is not None:
            parts.append(_RECT.format(column.colour, middle - width / 2, floor - height, width, height))
        parts.append(_TEXT.format(middle, floor - height - 6, column.text))
        parts.append(_TEXT.format(middle, _PLOT_HEIGHT - 5, column.label))
    words = f"{title}: " + ", ".join(f"{column.label} {column.text}" for column in bars)
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        _PLOT_WIDTH, _PLOT_HEIGHT, words, words, Markup("").join(parts)
    )
