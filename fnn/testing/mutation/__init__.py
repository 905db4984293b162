"""Mutation testing: wrong versions of layers, losses and transforms, and how many the laws refuse.

`scoring` makes them and scores a check; `of_layers`, `of_losses` and `of_transforms` say what may be
wrong, layers by gradients, outputs and modes; `probes` asks whether a version differs at all.
"""
