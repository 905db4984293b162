"""A page to try a trained network in the browser: draw a digit, type a text, set numbers.

    python -m fnn.demo out/mnist_cnn

or, for a network with layers of one's own, `fnn.demo.serve("out/mine", layers={"Mine": Mine})`. The
page is served to this machine alone unless `host` says otherwise, needs nothing from elsewhere, and
shows what every layer makes of what is drawn, while it is drawn.
"""

from fnn.demo.serving import serve

__all__ = ["serve"]
