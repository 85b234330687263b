"""The colours of all charts, where a hue has one meaning, and small charts as static SVG.

It needs no library, so that what is drawn for Slack has the same colours and shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from markupsafe import Markup

from dmarckit.core import _, count, one_line, percent

# meaning → colour on a light and on a dark page. Each has a contrast of 3:1 there, and those of
# one chart are told apart with every kind of colour blindness: `tests/pages/test_colours.py`
COLOURS = {
    "authenticated": ("#005d93", "#4093fe"),
    "mostly": ("#3d8fd6", "#276eaa"),
    "indirect": ("#18a170", "#38dda8"),
    "failing": ("#b22a01", "#e38144"),
    "partly": ("#d07a2a", "#9b5d22"),
    "forged": ("#8567e5", "#e9c0fe"),
    "quarantined": ("#b3870b", "#ffda51"),
    "rejected": ("#454b55", "#dfe4ea"),
    "unknown": ("#7c8ca4", "#7d8797"),
}
LIGHT = {name: light for name, (light, _dark) in COLOURS.items()}
DARK = dict(COLOURS.values())  # a colour of a light page → the same on a dark one
_LEAST = 1 / 60  # width of the narrowest part of a bar: one in a million is still seen
_FLOW, _NODE, _GAP = (960, 320), 12, 14  # width and height, of a bar, and between bars


def styles() -> str:
    """Return the style of each colour, for viewers without variables."""
    return "".join(
        f".c-{name}{{fill:{colour};background:{colour}}}" for name, colour in LIGHT.items()
    )


def draw(
    width: float,
    height: float,
    label: str,
    shapes: Iterable[tuple[str, str]],
    texts: Iterable[tuple[float, float, str, str]] = (),
    kind: str = "",
) -> Markup:
    """Return paths, each with its colour's name, and texts (x, y, anchor, text) as an SVG.

    `label` says to those who do not see it what it shows.
    """
    path = Markup('<path class="c-{}" d="{}"/>').format
    text = Markup('<text x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format
    return Markup(
        '<svg class="dk-mark {}" viewBox="0 0 {:g} {:g}" width="{:g}" height="{:g}" role="img" '
        'aria-label="{}"><title>{}</title>{}{}</svg>'
    ).format(
        *(kind, width, height, width, height, *[one_line(label, 300)] * 2),
        Markup().join(path(*shape) for shape in shapes),
        Markup().join(text(x, y, anchor, one_line(words, 60)) for x, y, anchor, words in texts),
    )


def spark(
    by_day: Mapping[str, float], label: str, days: Sequence[str] = (), colour: str = "unknown"
) -> Markup:
    """Return a bar a day; empty where there is nothing.

    `by_day`: day (ISO 8601) → number; `days`: those to show, the sorted ones of `by_day` unless
    given.
    """
    days = days or sorted(by_day)
    most = max((by_day.get(day, 0) for day in days), default=0)
    if not most > 0:
        return Markup()
    heights = [by_day.get(day, 0) / most * 22 for day in days]
    path = "".join(
        f"M{4 * n} 24v-{max(height, 1):.3g}h3V24z" for n, height in enumerate(heights) if height
    )
    return draw(4 * len(days), 24, label, [(colour, path)], kind="dk-spark")


def parts(numbers: Mapping[str, float]) -> Iterator[tuple[str, float, float]]:
    """Yield colour, left edge and width [0-1] of each part of a bar; what is there can be seen."""
    total, left = sum(numbers.values()), 0.0
    some = {name: max(n / total, _LEAST) for name, n in numbers.items() if n > 0}
    for name, share in some.items():
        width = share / sum(some.values())
        yield name, left, width
        left += width


def bar(numbers: Mapping[str, float], names: Mapping[str, str], width: int = 120) -> Markup:
    """Return a bar of parts, by colour; `names` says what each of them is."""
    total = sum(numbers.values())
    said = (f"{names[name]} {percent(n / total)}" for name, n in numbers.items() if n > 0)
    shapes = [
        (name, f"M{left * width:.4g} 0h{max(part * width - 1, 1):.4g}v12H{left * width:.4g}z")
        for name, left, part in parts(numbers)
    ]
    return draw(width, 12, _(", ").join(said), shapes) if shapes else Markup()


def flow(rows: Sequence[tuple[str, tuple[str, str, str], float]], label: str) -> Markup:
    """Return bands from one column of bars to the next, as thick as they have messages.

    A row is a colour, a name in each of the three columns, and a number. Bars stand in the order
    in which their names come first.
    """
    width, height = _FLOW
    columns = [list(dict.fromkeys(names[place] for _c, names, _n in rows)) for place in range(3)]
    room = height - _GAP * (max(map(len, columns)) - 1)
    scale = room / sum(number for _colour, _names, number in rows)
    lefts = (230.0, (width - _NODE) / 2 + 30, width - 160.0)
    bars, bands, texts, tops = [], [], [], []
    for place, left in enumerate(lefts):
        sums = dict.fromkeys(columns[place], 0.0)
        for _colour, names, number in rows:
            sums[names[place]] += number
        top = 0.0
        found: dict[str, float] = {}
        for name, number in sums.items():
            found[name], tall = top, max(number * scale, 1)
            bars.append(("rejected", f"M{left:g} {top:.4g}h{_NODE}v{tall:.4g}h-{_NODE}z"))
            x, anchor = (left + _NODE + 8, "start") if place else (left - 8, "end")
            y = max(top + tall / 2 + 4, 11)
            texts.append((x, y, anchor, f"{one_line(name, 28)} {count(number)}"))
            top += tall + _GAP
        tops.append(found)
    for place in (0, 1):
        joined: dict[tuple[str, str, str], float] = {}
        for colour, names, number in rows:
            key = (names[place], names[place + 1], colour)
            joined[key] = joined.get(key, 0) + number
        start, end = dict(tops[place]), dict(tops[place + 1])
        x1, x2 = lefts[place] + _NODE, lefts[place + 1]
        x = (x1 + x2) / 2
        ranks = [{name: n for n, name in enumerate(columns[place + right])} for right in (0, 1)]
        for one, other, colour in sorted(joined, key=lambda k: (ranks[0][k[0]], ranks[1][k[1]])):
            y1, y2, tall = start[one], end[other], joined[one, other, colour] * scale
            start[one] += tall
            end[other] += tall
            tall = max(tall, 1)
            over = f"M{x1:g} {y1:.4g}C{x:g} {y1:.4g} {x:g} {y2:.4g} {x2:g} {y2:.4g}v{tall:.4g}"
            y1, y2 = y1 + tall, y2 + tall
            back = f"C{x:g} {y2:.4g} {x:g} {y1:.4g} {x1:g} {y1:.4g}z"
            bands.append((colour, over + back))
    return draw(width, height + 10, label, [*bands, *bars], texts, kind="dk-flow")
