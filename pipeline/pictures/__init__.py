"""Draws what the pipeline knows: views with identities, the mosaic of a site, and the chart of journeys."""

from pipeline.pictures.chart import journeys_png
from pipeline.pictures.colours import Colour, Legend, colour_map, identity_colour, short_names
from pipeline.pictures.cutouts import Cutouts
from pipeline.pictures.film import View, film_layout, index_results, render_mosaic
from pipeline.pictures.mosaic import Header, Layout, mosaic
from pipeline.pictures.trails import Trails
from pipeline.pictures.views import draw_view

__all__ = [
    "Colour",
    "Cutouts",
    "Header",
    "Layout",
    "Legend",
    "Trails",
    "View",
    "colour_map",
    "draw_view",
    "film_layout",
    "identity_colour",
    "index_results",
    "journeys_png",
    "mosaic",
    "render_mosaic",
    "short_names",
]
