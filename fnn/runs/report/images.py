"""Arrays as small PNGs: examples in grey or colour, weights from red over white to blue."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np

from fnn.tree import Array

_LARGEST = 128
_POSITIVE = np.array([0, 114, 178])
_NEGATIVE = np.array([213, 94, 0])


def png(pixels: Array) -> bytes:
    """Return (h, w), (h, w, 3) or, with opacity, (h, w, 4) of uint8 as the bytes of a PNG."""
    height, width = pixels.shape[:2]

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    color = {3: 2, 4: 6}[pixels.shape[2]] if pixels.ndim == 3 else 0
    # Every row begins with the number of its filter, which is none.
    rows = b"".join(b"\0" + pixels[i].tobytes() for i in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def as_images(x: Array) -> Array | None:
    """Return examples as (n, h, w) or (n, h, w, 3); None if they are no images."""
    if x.dtype.kind not in "fiub":
        return None
    if x.ndim == 2 and x.shape[1] > 8 and math.isqrt(x.shape[1]) ** 2 == x.shape[1]:
        side = math.isqrt(x.shape[1])
        x = x.reshape(-1, side, side)
    elif x.ndim == 4 and x.shape[1] == 1:
        x = x[:, 0]
    elif x.ndim == 4 and x.shape[1] == 3:
        x = x.transpose(0, 2, 3, 1)
    if x.ndim not in (3, 4) or 0 in x.shape or (x.ndim == 4 and x.shape[3] != 3):
        return None
    # Shown as large as a thumb: every k-th pixel will do.
    step = max(1, -(-max(x.shape[1:3]) // _LARGEST))
    return x[:, ::step, ::step].astype(np.float64)


def greys(images: Array) -> list[bytes]:
    """Return PNGs of images on one scale; without colours high values are dark."""
    finite = images[np.isfinite(images)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    # Divided first: the difference of two large numbers may be infinite.
    scale = max(abs(low), abs(high), 1e-300)
    low, high = low / scale, high / scale
    share = np.nan_to_num(
        (images / scale - low) / ((high - low) or 1.0), nan=0.0, posinf=1.0, neginf=0.0
    )
    share = share if images.ndim == 4 else 1 - share
    return [png(image) for image in np.rint(share * 255).astype(np.uint8)]


def shares(counts: Array) -> bytes:
    """Return a PNG of a confusion matrix, blue on its diagonal and red beside it.

    A pixel is as dense as the root of its share of the row, which lifts the few mistakes out of the
    ground; what is empty lets the page shine through.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    is_right = np.eye(len(counts), dtype=bool)[..., None]
    color = np.where(is_right, _POSITIVE, _NEGATIVE)
    opacity = np.rint(255 * np.sqrt(share))[..., None]
    return png(np.concatenate([color, opacity], axis=-1).astype(np.uint8))


def weights(kernels: Array) -> tuple[list[bytes], float]:
    """Return PNGs of (n, h, w) weights and the largest size; blue is positive, red negative."""
    finite = np.where(np.isfinite(kernels), kernels, 0.0)
    largest = float(np.max(np.abs(finite), initial=0.0)) or 1.0
    share = (finite / largest)[..., None]
    ends = np.where(share >= 0, _POSITIVE, _NEGATIVE)
    pixels = np.rint(255 + np.abs(share) * (ends - 255.0)).astype(np.uint8)
    return [png(image) for image in pixels], largest
