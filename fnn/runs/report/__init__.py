"""Reports: what a run, or several side by side, were told and reached, as one HTML page and Markdown.

    python -m fnn.report out/mnist_cnn
    python -m fnn.report out/a out/b out/c --out out/comparison
    python -m fnn.report out/parity-sweep

The page needs no other file, no script and no network, and reads well on a phone. What a run has not
got is left out of it: without `evaluation.npz` there is no confusion matrix, without `model.npz` no
picture of its weights. A run's folder may be a stranger's: nothing in it is executed, and no list in
it, however long, makes a page of any size; what is left out is counted.
"""

from fnn.runs.report.network_picture import network_svg
from fnn.runs.report.pages import page_of
from fnn.runs.report.reading import RunRecord, read
from fnn.runs.report.writing import write

__all__ = ["RunRecord", "network_svg", "page_of", "read", "write"]
