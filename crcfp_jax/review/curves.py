"""Curves as SVG, drawn without a library so that the page stands alone."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from crcfp_jax.common.words import METRICS
from crcfp_jax.methods.systems.palette import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 10, 30  # pixels around the plot
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
DASHES = ("none", "6 3", "2 2")  # tell apart the curves that share a colour
MOST_POINTS = 400  # of a curve


def curve_groups(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Title -> name -> (step, value): losses, validation, pseudo-labels, learning rate, input, of what was logged."""
    titles = {
        "loss/": "loss",
        "validation/": "validation, %",
        "pseudo_labels/": "share of the pseudo-labels",
        "share/confident": "share of confident pixels",
        "learning_rate": "learning rate",
        "input_wait": "share of the time that input was waited for",
    }
    groups: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        for key, value in row.items():
            start = next((start for start in titles if key.startswith(start)), None)
            if start is not None and isinstance(value, int | float) and math.isfinite(value):
                name = _shown(start, key.removeprefix(start)) or titles[start]
                curve = groups.setdefault(titles[start], {}).setdefault(name, [])
                curve.append((row["step"], float(value)))
    return {title: groups[title] for title in titles.values() if title in groups}


def _shown(start: str, name: str) -> str:
    """A logged name as the doctor's tables write it; those of classes are the user's own."""
    if start == "validation/":
        return METRICS.get(name, name)
    return name.replace("_", "-") if start == "loss/" else name


def draw_curves(title: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """One plot, as a figure of HTML with a legend."""
    steps = [step for points in curves.values() for step, _ in points]
    values = [value for points in curves.values() for _, value in points]
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1
    first, last = min(steps), max(max(steps), min(steps) + 1)

    def place(step: int, value: float) -> str:
        x = LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"

    ticks = "".join(_tick(low + share * (high - low), share) for share in (0.0, 0.5, 1.0))
    lines, names = [], []
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        every = math.ceil(len(points) / MOST_POINTS)
        path = " ".join(place(*point) for point in points[::-every][::-1])
        told = f"{html.escape(name)}: {points[-1][1]:.4g} at step {points[-1][0]}"
        dash = DASHES[number // len(COLOURS) % len(DASHES)]
        style = f'stroke="{colour}" stroke-dasharray="{dash}"'
        lines.append(f'<polyline points="{path}" {style}><title>{told}</title></polyline>')
        sample = f'<svg viewBox="0 0 24 4" aria-hidden="true"><polyline points="0,2 24,2" {style}/></svg>'
        names.append(f"<span>{sample}{html.escape(name)}</span>")
    axis = (
        f'<text x="{LEFT}" y="{HEIGHT - 8}">{first}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">step {last}</text>'
    )
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}">{ticks}{axis}{"".join(lines)}</svg><p class="names">{"".join(names)}</p>'
        "</figure>"
    )


def _tick(value: float, share: float) -> str:
    y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    )
