"""The table of norms of examples, embeddings, positions and attention."""

from __future__ import annotations

import fnn
from fnn.layers import (
    Embedding,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LearnedPositions,
    MultiHeadAttention,
    RMSNorm,
    RotaryPositions,
    SinusoidalPositions,
    TransformerBlock,
    tied_embedding,
)

CASES = [
    (LayerNorm(eps=0.1), (4,)),
    (LayerNorm(axis=(1, -1), eps=0.1), (2, 3)),
    (LayerNorm(axis=1, scale=False, eps=0.1), (3, 2)),
    (LayerNorm(shift=False, eps=0.1), (2, 3)),
    (RMSNorm(), (4,)),
    (RMSNorm(axis=1, scale=False), (3, 2)),
    (GroupNorm(2, eps=0.1), (4, 3)),
    (GroupNorm(1, scale=False, eps=0.1), (3,)),
    (InstanceNorm(eps=0.1), (2, 2, 2)),
    (InstanceNorm(shift=False, scale=False, eps=0.1), (2, 3)),
    (SinusoidalPositions(), (3, 3)),
    (RotaryPositions(base=10.0), (3, 4)),
    (LearnedPositions(4), (3, 2)),
    (MultiHeadAttention(2), (3, 4)),
    (MultiHeadAttention(1, width=2, causal=True, bias=False), (3, 3)),
    (MultiHeadAttention(2, positions="rotary", dropout=0.3), (3, 4)),
    (TransformerBlock(1), (2, 3)),
    (TransformerBlock(2, width_mlp=3, positions="rotary"), (3, 4)),
    (
        TransformerBlock(1, width_mlp=3, norm="post", causal=True, dropout=0.2, activation="tanh"),
        (3, 3),
    ),
]
VALUE_CASES = [
    (Embedding(5, 3), (2,)),
    (Embedding(4, 2), ()),
    (tied_embedding(5, 3), (2,)),
    (tied_embedding(4, 2, fnn.Dense(2), fnn.Tanh()), (3,)),
    (MultiHeadAttention(2, mask=True), ((3, 4), (3,))),
    (MultiHeadAttention(1, mask=True, causal=True, dropout=0.2), ((3, 2), (3,))),
    (MultiHeadAttention(1, cross=True, causal=True), ((2, 2), (3, 3))),
    (MultiHeadAttention(1, cross=True, mask=True, positions="rotary"), ((2, 2), (3, 3), (3,))),
    (TransformerBlock(1, mask=True, activation=fnn.Tanh()), ((3, 3), (3,))),
]
