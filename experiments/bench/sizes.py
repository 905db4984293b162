"""What `--growth` varies, and the workload at every point of its curves."""

from __future__ import annotations

from bench.workloads import R2, Layers, Workload


def _dense(*widths: int) -> Layers:
    hidden = (layer for n in widths for layer in (("dense", n), ("relu",)))
    return (*hidden, ("dense", 10))


SIZES: dict[str, tuple[int, ...]] = {
    "batch": (16, 32, 64, 128, 256, 512, 1024),
    "width": (64, 128, 256, 512, 1024, 2048),
    "depth": (1, 2, 4, 8, 16, 32),
    "image size": (16, 24, 36, 54, 80, 120),
    "data set size": (1000, 2000, 4000, 8000, 16_000, 32_000),
}
"""What is varied, and through which values."""


def grown(axis: str, n: int) -> Workload:
    """Return the workload of one point of a growth curve: the axis at n, all else held."""
    if axis == "batch":
        return Workload(_dense(256, 256), batch=n)
    if axis == "width":
        return Workload(_dense(n, n))
    if axis == "depth":
        return Workload(_dense(*(128,) * n), (128,))
    if axis == "image size":
        return Workload(R2, (1, n, n), 32)
    return Workload(_dense(256, 256), kind="epoch", images=n)


GROWTH = {f"{axis}={n}": grown(axis, n) for axis, sizes in SIZES.items() for n in sizes}
