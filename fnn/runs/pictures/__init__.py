"""Pictures of data and of results, each written as one PNG; equal input gives equal bytes.

Needs matplotlib (`pip install "fnn[plot]"`), which is imported on use. No window is opened and no
global setting of matplotlib is read for colours or changed. The colours are those of Okabe and Ito
(2008, "Color universal design"), which colour-blind readers can tell apart.
"""

from fnn.runs.pictures.boundaries import decision_boundary
from fnn.runs.pictures.canvas import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION, Labels, require
from fnn.runs.pictures.classes import confusion, probabilities
from fnn.runs.pictures.images import filters, image_grid, right_and_wrong
from fnn.runs.pictures.lines import curves, schedule
from fnn.runs.pictures.truth import predictions, rankings

__all__ = [
    "BLUE",
    "GREEN",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILLION",
    "Labels",
    "confusion",
    "curves",
    "decision_boundary",
    "filters",
    "image_grid",
    "predictions",
    "probabilities",
    "rankings",
    "require",
    "right_and_wrong",
    "schedule",
]
