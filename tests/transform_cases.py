"""Rows of further transforms, with their closed forms."""

from __future__ import annotations

import numpy as np
from closed_forms import TransformCase, falling, negative, plain, steps_of, weighted_sum
from search_forms import bfgs, uphill
from transform_forms import (
    NOISE,
    PASS,
    adabelief,
    adadelta,
    adafactor,
    adamax,
    amsgrad,
    averaged,
    every_other,
    factored,
    from_zeros,
    in_first,
    in_parts,
    is_matrix,
    label_of,
    lamb,
    lars,
    lion,
    looking_ahead,
    muon,
    nadam,
    noisy,
    novograd,
    radam,
    rms,
    rprop,
    sm3,
    trust,
    unit_clipped,
    yogi,
)

import fnn

DOWN, ONE = negative(falling), plain(1.0)


def descent(p, g, memory, step):
    return -falling(step) * g


CASES = [
    TransformCase(
        "nesterov",
        fnn.nesterov(falling, 0.8),
        steps_of(lambda p, g, memory, s: DOWN(s) * (g + 0.8 * weighted_sum(memory, "v", g, 0.8))),
    ),
    TransformCase("nadam", fnn.nadam(), nadam(0.002, 0.9, 0.999, 1e-8)),
    TransformCase(
        "nadam",
        fnn.nadam(falling, b1=0.5, b2=0.8, eps=0.1, momentum_decay=1.0),
        nadam(falling, 0.5, 0.8, 0.1, 1.0),
    ),
    TransformCase("radam", fnn.radam(falling, b2=0.9, eps=0.01), radam(DOWN, 0.9, 0.9, 0.01), 9),
    TransformCase("scale_by_radam", fnn.scale_by_radam(b1=0.5), radam(ONE, 0.5, 0.999, 1e-8), 9),
    TransformCase("amsgrad", fnn.amsgrad(falling, b2=0.5), amsgrad(DOWN, 0.9, 0.5, 1e-8)),
    TransformCase("scale_by_amsgrad", fnn.scale_by_amsgrad(b2=0.5), amsgrad(ONE, 0.9, 0.5, 1e-8)),
    TransformCase("adamax", fnn.adamax(falling, b2=0.7, eps=0.1), adamax(DOWN, 0.9, 0.7, 0.1)),
    TransformCase("scale_by_adamax", fnn.scale_by_adamax(), adamax(ONE, 0.9, 0.999, 1e-8)),
    TransformCase("adabelief", fnn.adabelief(falling, eps=0.01), adabelief(DOWN, 0.9, 0.999, 0.01)),
    TransformCase("scale_by_belief", fnn.scale_by_belief(), adabelief(ONE, 0.9, 0.999, 1e-16)),
    TransformCase("yogi", fnn.yogi(falling, b2=0.5), yogi(DOWN, 0.9, 0.5, 1e-3)),
    TransformCase("scale_by_yogi", fnn.scale_by_yogi(), yogi(ONE, 0.9, 0.999, 1e-3)),
    TransformCase("adadelta", fnn.adadelta(falling, 0.8, eps=0.1), adadelta(DOWN, 0.8, 0.1)),
    TransformCase("scale_by_adadelta", fnn.scale_by_adadelta(), adadelta(ONE, 0.9, 1e-6)),
    TransformCase(
        "sign_sgd", fnn.sign_sgd(falling), steps_of(lambda p, g, memory, s: DOWN(s) * np.sign(g))
    ),
    TransformCase(
        "scale_by_sign", fnn.scale_by_sign(), steps_of(lambda p, g, memory, step: np.sign(g))
    ),
    TransformCase("lion", fnn.lion(falling, weight_decay=0.3), lion(DOWN, 0.9, 0.99, 0.3)),
    TransformCase(
        "lion",
        fnn.lion(falling, weight_decay=0.3, decayed=is_matrix),
        in_parts(lambda path: path.endswith("w"), lion(DOWN, 0.9, 0.99, 0.3), lion(DOWN, 0.9, 0.99)),
    ),
    TransformCase("scale_by_lion", fnn.scale_by_lion(), lion(ONE, 0.9, 0.99)),
    TransformCase("rprop", fnn.rprop(0.1), rprop(0.1)),
    TransformCase(
        "rprop", fnn.rprop(shrink=0.3, grow=3, least=0.008, most=0.05), rprop(0.01, 0.3, 3, 0.008, 0.05)
    ),
    TransformCase("scale_by_trust_ratio", fnn.scale_by_trust_ratio(falling), trust(falling)),
    TransformCase("lamb", fnn.lamb(falling, weight_decay=0.3), lamb(falling, 0.9, 0.999, 1e-6, 0.3)),
    TransformCase("lars", fnn.lars(falling, trust=0.1, weight_decay=0.3), lars(falling, 0.9, 0.1, 0.3)),
    TransformCase(
        "novograd", fnn.novograd(falling, weight_decay=0.3), novograd(DOWN, 0.95, 0.98, 1e-8, 0.3)
    ),
    TransformCase("scale_by_novograd", fnn.scale_by_novograd(b2=0.5), novograd(ONE, 0.95, 0.5, 1e-8)),
    TransformCase("adafactor", fnn.adafactor(falling), from_zeros(adafactor(falling))),
    TransformCase(
        "adafactor",
        fnn.adafactor(1.0, decay_power=0.5, most_update=0.5, least_scale=2.0, weight_decay=0.3),
        from_zeros(adafactor(1.0, 0.5, 2.0**-52, 2.0, 0.5, 0.3)),
    ),
    TransformCase("scale_by_factored_rms", fnn.scale_by_factored_rms(), from_zeros(factored(0.8))),
    TransformCase("sm3", fnn.sm3(falling, 0.8, eps=0.1), sm3(DOWN, 0.8, 0.1)),
    TransformCase("scale_by_sm3", fnn.scale_by_sm3(), sm3(ONE, 0.9, 1e-10)),
    TransformCase("muon", fnn.muon(falling), muon(DOWN, weight_decay=0.1)),
    TransformCase(
        "scale_by_muon",
        fnn.scale_by_muon(0.8, nesterov=False, steps=2),
        muon(ONE, 0.8, nesterov=False, steps=2),
    ),
    TransformCase(
        "clip_by_value",
        fnn.clip_by_value(falling),
        steps_of(lambda p, g, memory, s: np.minimum(np.maximum(g, -falling(s)), falling(s))),
    ),
    TransformCase(
        "clip_by_block_rms",
        fnn.clip_by_block_rms(falling),
        steps_of(lambda p, g, memory, step: g * min(1.0, falling(step) / rms(g))),
    ),
    TransformCase("adaptive_clip", fnn.adaptive_clip(falling), unit_clipped(falling, 1e-3)),
    TransformCase("adaptive_clip", fnn.adaptive_clip(1.0, eps=2.0), unit_clipped(1.0, 2.0)),
    TransformCase(
        "centralize",
        fnn.centralize(),
        steps_of(lambda p, g, memory, step: g - np.mean(g, axis=0) if g.ndim == 2 else g),
    ),
    TransformCase(
        "masked",
        fnn.masked(fnn.add_decayed_weights(falling), "dense_0"),
        in_parts(in_first, steps_of(lambda p, g, memory, step: g + falling(step) * p), PASS),
    ),
    TransformCase(
        "masked",
        fnn.chain(fnn.masked(fnn.scale_by_sign(), is_matrix), fnn.scale_by_learning_rate(0.1)),
        in_parts(
            lambda path: path.endswith("w"),
            steps_of(lambda p, g, memory, step: -0.1 * np.sign(g)),
            steps_of(lambda p, g, memory, step: -0.1 * g),
        ),
    ),
    TransformCase(
        "partition",
        fnn.partition({"a": fnn.sign_sgd(0.1), "b": fnn.yogi()}, {"": "a", "dense_0": "b"}),
        in_parts(
            in_first,
            yogi(plain(-0.01), 0.9, 0.999, 1e-3),
            steps_of(lambda p, g, memory, step: -0.1 * np.sign(g)),
        ),
    ),
    TransformCase(
        "partition",
        fnn.partition({"matrix": fnn.muon(falling), "rest": fnn.sgd(falling)}, label_of),
        in_parts(lambda path: path.endswith("w"), muon(DOWN, weight_decay=0.1), steps_of(descent)),
    ),
    TransformCase(
        "accumulate",
        fnn.accumulate(fnn.yogi(falling), 2),
        every_other(yogi(DOWN, 0.9, 0.999, 1e-3), 2),
        6,
    ),
    TransformCase(
        "accumulate",
        fnn.accumulate(fnn.lamb(), 3),
        every_other(lamb(0.001, 0.9, 0.999, 1e-6, 0.0), 3),
        9,
    ),
    TransformCase(
        "lookahead",
        fnn.lookahead(fnn.sgd(falling), 2, alpha=0.3),
        looking_ahead(lambda g, step: -falling(step) * g, 2, 0.3),
    ),
    TransformCase(
        "skip_nonfinite", fnn.skip_nonfinite(fnn.yogi(0.1)), yogi(plain(-0.1), 0.9, 0.999, 1e-3)
    ),
    TransformCase("ema", fnn.ema(0.8), averaged(PASS, 0.8)),
    TransformCase(
        "ema",
        fnn.chain(fnn.sgd(falling), fnn.ema(0.8)),
        averaged(steps_of(descent), 0.8, ("ema_0", "average")),
    ),
    TransformCase("sam", fnn.sam(falling), uphill(falling)),
    TransformCase(
        "sam",
        fnn.chain(fnn.sam(2.0), fnn.sgd(falling)),
        uphill(2.0, lambda g, step: -falling(step) * g),
    ),
    TransformCase("lbfgs", fnn.lbfgs(), bfgs(10)),
    TransformCase("lbfgs", fnn.lbfgs(2, curvature=0.1), bfgs(2, curvature=0.1)),
    TransformCase("add_noise", fnn.add_noise(falling, key=NOISE), noisy(falling)),
]
