"""Charts as Vega-Lite specifications: pure functions from rows to what is drawn of them.

Colors are the style sheet's variables, so that a chart follows the page from light to dark and to
paper without being drawn again. No text of a model enters a specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iterdpo.tools.report.document import Chart, Row

Spec = dict[str, Any]

HEIGHT = 240
SMALL = 150
SERIES = ("var(--series-1)", "var(--series-2)", "var(--series-3)", "var(--series-4)")
_KNOWN = {"filter": {"field": "low", "valid": True}}
"""Leaves out rows without an interval."""
SHAPES = ("circle", "diamond", "square", "triangle-up")


def config() -> Spec:
    """Return the look that all charts share."""
    text = {"labelColor": "var(--quiet)", "titleColor": "var(--ink)", "labelFontSize": 12,
            "titleFontSize": 12, "titleFontWeight": 500}  # fmt: skip
    return {
        "background": "transparent",
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {**text, "gridColor": "var(--line)", "domainColor": "var(--faint)",
                 "tickColor": "var(--faint)", "labelPadding": 6, "titlePadding": 10,
                 "labelLimit": 220},
        "axisX": {"grid": False},
        "axisQuantitative": {"tickCount": 5},
        "legend": {**text, "orient": "top", "title": None, "symbolSize": 80, "offset": 4,
                   "columnPadding": 16, "labelLimit": 260, "symbolOpacity": 1},
        "header": {"labelColor": "var(--ink)", "titleColor": "var(--ink)"},
        "text": {"fill": "var(--ink)"},
    }  # fmt: skip


def ramp(count: int) -> list[str]:
    """Return ``count`` colors in order, from the earliest's gray to the latest's blue."""
    steps = [100 * i / max(count - 1, 1) for i in range(count)] if count > 1 else [100.0]
    return [f"color-mix(in oklab, var(--late) {share:.0f}%, var(--early))" for share in steps]


def intervals(
    name: str, title: str, caption: str, rows: Sequence[Row], *, x: str, y: str,
    x_title: str, y_title: str, series: str | None = None, line: bool = True,
    x_values: Sequence[float] | None = None, log: bool = False, reference: float | None = None,
    ordered: bool = False,
) -> Chart:  # fmt: skip
    """Points with their intervals, in the columns ``low`` and ``high``.

    Args:
        name: of the chart, unique in a page.
        title: what it shows.
        caption: more of that, and what the interval is.
        rows: the data.
        x: column of the places along the axis.
        y: column of the values.
        x_title: what ``x`` is.
        y_title: what ``y`` is, with its unit.
        series: column that tells lines apart, by color and shape.
        line: whether to join a series' points.
        x_values: numbers on the axis; None where ``x`` holds names, in the rows' order.
        log: whether the axis of numbers is logarithmic.
        reference: a value that a dashed line marks, such as chance.
        ordered: whether the series have an order, which their colors then follow.
    """
    along: Spec = {"field": x, "title": x_title}
    if x_values is None:
        along |= {"type": "nominal", "sort": None, "axis": {"labelAngle": 0}}
        along |= {"scale": {"padding": 0.5}}
    else:
        along |= {"type": "quantitative", "axis": {"values": list(x_values), "grid": False}}
        scale = {"type": "log"} if log else {"type": "linear", "zero": False}
        along["scale"] = {**scale, "nice": False, "padding": 24}
    up: Spec = {"type": "quantitative", "title": y_title, "scale": {"zero": False, "nice": True}}
    encoding: Spec = {"x": along}
    if series:
        names = list(dict.fromkeys(row[series] for row in rows))
        looks = ramp(len(names)) if ordered else SERIES
        encoding["color"] = _told_apart(series, names, looks)
        if x_values is None:
            # Beside each other, but near enough to be of one place.
            encoding["xOffset"] = {"field": series, "type": "nominal", "sort": names,
                                   "scale": {"type": "point", "padding": 5}}  # fmt: skip
    else:
        encoding["color"] = {"value": SERIES[0]}
    tips = [{"field": x, "type": "nominal" if x_values is None else "quantitative",
             "title": x_title}]  # fmt: skip
    if series:
        tips.append({"field": series, "type": "nominal", "title": "what"})
    tips += [{"field": key, "type": "quantitative", "format": ".3f", "title": said}
             for key, said in ((y, y_title), ("low", "low"), ("high", "high"))]  # fmt: skip
    shape = _told_apart(series, names, SHAPES) if series else {"value": "circle"}
    layers: list[Spec] = [
        {"mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
         "encoding": {"y": {**up, "field": y}, "shape": shape, "tooltip": tips}},
    ]  # fmt: skip
    if any(row["low"] is not None for row in rows):
        bar = {"type": "rule", "strokeWidth": 2, "opacity": 0.75}
        layers.insert(
            0,
            {
                "transform": [_KNOWN],
                "mark": bar,
                "encoding": {"y": {**up, "field": "low"}, "y2": {"field": "high"}},
            },
        )
    if line:
        drawn = {"type": "line", "strokeWidth": 1.5, "opacity": 0.55}
        layers.insert(0, {"mark": drawn, "encoding": {"y": {**up, "field": y}}})
    if reference is not None:
        layers.insert(0, _level(reference))
    return Chart(name, title, caption, _spec(name, HEIGHT, encoding=encoding, layer=layers), rows)


def ranked(
    name: str, title: str, caption: str, rows: Sequence[Row], *, y: str, x: str, x_title: str,
    series: str,
) -> Chart:  # fmt: skip
    """Intervals that lie: one row each, in the rows' order, the names at the left."""
    names = list(dict.fromkeys(row[series] for row in rows))
    lying = [row[y] for row in rows]
    along: Spec = {"type": "quantitative", "title": x_title, "axis": {"grid": True},
                   "scale": {"zero": False}}  # fmt: skip
    encoding: Spec = {
        "y": {"field": y, "type": "nominal", "sort": None, "title": None},
        "color": _told_apart(series, names, SERIES, lying),
    }
    tips = [{"field": y, "type": "nominal", "title": "what"}] + [
        {"field": key, "type": "quantitative", "format": ".3f", "title": said}
        for key, said in ((x, x_title), ("low", "low"), ("high", "high"))
    ]
    layers = [
        {"transform": [_KNOWN], "mark": {"type": "rule", "strokeWidth": 2},
         "encoding": {"x": {**along, "field": "low"}, "x2": {"field": "high"}}},
        {"mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
         "encoding": {"x": {**along, "field": x}, "tooltip": tips,
                      "shape": _told_apart(series, names, SHAPES, lying)}},
    ]  # fmt: skip
    height = 26 * len(rows)
    return Chart(name, title, caption, _spec(name, height, encoding=encoding, layer=layers), rows)


def curves(
    name: str, title: str, caption: str, rows: Sequence[Row], *, x: str, y: str, x_title: str,
    y_title: str, series: str, height: int = SMALL, steps: bool = False, zero: bool = False,
    diagonal: bool = False,
) -> Chart:  # fmt: skip
    """One line for each of the ``series``, colored in their order.

    ``steps`` is for histograms, ``diagonal`` dashes the line on which ``x`` and ``y`` are equal.
    """
    names = list(dict.fromkeys(row[series] for row in rows))
    mark: Spec = {"type": "line", "strokeWidth": 1.75, "clip": True}
    if steps:
        mark["interpolate"] = "step-after"
    encoding: Spec = {
        "x": {"field": x, "type": "quantitative", "title": x_title, "scale": {"nice": False}},
        "y": {"field": y, "type": "quantitative", "title": y_title, "scale": {"zero": zero}},
        "color": _told_apart(series, names, ramp(len(names))),
    }
    tips = [
        {"field": series, "type": "nominal", "title": "what"},
        {"field": x, "type": "quantitative", "title": x_title},
        {"field": y, "type": "quantitative", "title": y_title, "format": ".4f"},
    ]
    # Thick and unseen: what the pointer can hit.
    hit = {"mark": {"type": "point", "filled": True, "size": 120, "opacity": 0},
           "encoding": {"tooltip": tips}}  # fmt: skip
    layers: list[Spec] = [{"mark": mark}, hit]
    if diagonal:
        ends = [pick(float(row[key] or 0) for row in rows for key in (x, y)) for pick in (min, max)]
        layers.insert(0, {
            "data": {"values": [{x: end, y: end} for end in ends]},
            "mark": {"type": "line", "strokeDash": [4, 4], "strokeWidth": 1},
            "encoding": {"color": {"value": "var(--faint)"}},
        })  # fmt: skip
    return Chart(name, title, caption, _spec(name, height, encoding=encoding, layer=layers), rows)


def stacked(
    name: str, title: str, caption: str, rows: Sequence[Row], *, y: str, x: str, x_title: str,
    series: str, colors: Mapping[str, str],
) -> Chart:  # fmt: skip
    """Lying bars, one for each ``y``, cut by ``series`` in the order of ``colors``."""
    there = {row[series] for row in rows}
    names = [name for name in colors if name in there]
    order = {name: position for position, name in enumerate(names)}
    ordered = [{**row, "order": order[str(row[series])]} for row in rows]
    encoding: Spec = {
        "y": {"field": y, "type": "nominal", "sort": None, "title": None},
        "x": {"field": x, "type": "quantitative", "title": x_title, "axis": {"grid": True}},
        "color": _told_apart(
            series, names, [colors[name] for name in names], [row[y] for row in rows]
        ),
        "order": {"field": "order", "type": "quantitative"},
        "tooltip": [
            {"field": y, "type": "nominal", "title": "in"},
            {"field": series, "type": "nominal", "title": "what"},
            {"field": x, "type": "quantitative", "title": x_title},
        ],
    }
    mark = {"type": "bar", "height": 18, "stroke": "var(--paper)", "strokeWidth": 1}
    height = 30 * len({row[y] for row in rows})
    spec = _spec(name, height, mark=mark, encoding=encoding)
    return Chart(name, title, caption, spec, ordered)


def scatter(
    name: str, title: str, caption: str, rows: Sequence[Row], *, x: str, y: str, x_title: str,
    y_title: str, label: str, series: str,
) -> Chart:  # fmt: skip
    """Points with intervals upward and their names; rows where ``front`` is true are joined."""
    names = list(dict.fromkeys(row[series] for row in rows))
    up: Spec = {"type": "quantitative", "title": y_title, "scale": {"zero": False}}
    along: Spec = {"field": x, "type": "quantitative", "title": x_title,
                   "scale": {"zero": False, "padding": 30},
                   # Lengths that are nearly equal would be rounded to one and the same.
                   "axis": {"format": ".4~g"}}  # fmt: skip
    tips = [{"field": label, "type": "nominal", "title": "what"}] + [
        {"field": key, "type": "quantitative", "format": ".3f", "title": said}
        for key, said in ((x, x_title), (y, y_title), ("low", "low"), ("high", "high"))
    ]
    front = [{"filter": {"field": "front", "equal": "yes"}}]
    color = _told_apart(series, names, ramp(len(names)))
    layers = [
        {"transform": front, "mark": {"type": "line", "strokeDash": [4, 4], "strokeWidth": 1.25,
                                      "color": "var(--faint)"},
         "encoding": {"y": {**up, "field": y}, "order": {"field": x, "type": "quantitative"}}},
        {"transform": [_KNOWN], "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.6},
         "encoding": {"y": {**up, "field": "low"}, "y2": {"field": "high"}, "color": color}},
        {"mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
         "encoding": {"y": {**up, "field": y}, "tooltip": tips, "color": color}},
        {"transform": front, "mark": {"type": "text", "dx": 8, "align": "left", "fontSize": 11},
         "encoding": {"y": {**up, "field": y}, "text": {"field": label, "type": "nominal"}}},
    ]  # fmt: skip
    spec = _spec(name, 320, encoding={"x": along}, layer=layers)
    return Chart(name, title, caption, spec, rows)


def _told_apart(
    field: str, names: Sequence[Any], looks: Sequence[str], beside: Sequence[Any] = ()
) -> Spec:
    """Return a channel that gives each of ``names`` the look at its place, in turn.

    ``beside`` are the names at the left of the plot, where there are any.
    """
    looks = [looks[i % len(looks)] for i in range(len(names))]
    return {"field": field, "type": "nominal", "sort": list(names),
            "scale": {"domain": list(names), "range": looks},
            "legend": _legend(names, beside) if len(names) > 1 else None}  # fmt: skip


def _legend(names: Sequence[Any], beside: Sequence[Any] = ()) -> Spec:
    """Return a legend in as many columns as there is room for: Vega would cut off the rest.

    ``beside`` are the names at the left of the plot, which take room from it.
    """
    # The symbol with its gaps, the letters; several rows have columns as wide as their longest.
    entry, row = 32 + 7 * _longest(names), sum(32 + 7 * len(str(name)) for name in names)
    left = 24 + min(7 * _longest(beside), 220) if beside else 60
    # Of the container and not of the plot, whose width is known only after the legend is laid out;
    # ``width`` is named to be asked again when the window changes.
    room = f"(width && isFinite(containerSize()[0]) ? containerSize()[0] - {left} : 600)"
    return {
        "columns": {"expr": f"{room} >= {row} ? {len(names)} : max(1, floor({room} / {entry}))"},
        "labelLimit": {"expr": f"min(260, {room} - 24)"},
    }


def _longest(names: Sequence[Any]) -> int:
    return max(len(str(name)) for name in names)


def _level(value: float) -> Spec:
    return {
        "data": {"values": [{"level": value}]},
        "mark": {"type": "rule", "strokeDash": [4, 4], "color": "var(--faint)"},
        "encoding": {"y": {"field": "level", "type": "quantitative"}, "x": None,
                     "xOffset": None, "color": None},
    }  # fmt: skip


def _spec(name: str, height: int, **more: Any) -> Spec:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"name": name},
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        **more,
    }
