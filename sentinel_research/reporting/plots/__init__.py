"""Plots that know nothing of what they show: lines in panels, rows of values, a front, a radar.

Each takes values with their intervals and gives a drawing whose marks say them, whose arms can be
hidden, and which has them as a table. What was not measured is not among the values: a plot of none
is refused.
"""

from sentinel_research.reporting.plots.front import Place, draw_front
from sentinel_research.reporting.plots.lines import Line, Panel, draw_lines
from sentinel_research.reporting.plots.radar import Share, draw_radar
from sentinel_research.reporting.plots.rows import RowOf, draw_rows
from sentinel_research.reporting.plots.values import Spread

__all__ = [
    "Line",
    "Panel",
    "Place",
    "RowOf",
    "Share",
    "Spread",
    "draw_front",
    "draw_lines",
    "draw_radar",
    "draw_rows",
]
