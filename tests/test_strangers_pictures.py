"""Pictures of strangers: named formats, a budget of pixels, typed errors, no links below a folder."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from stranger_cases import Canary, memory_of

from fnn.datasets import image_folder, read_image
from fnn.datasets.image_files import FORMATS
from fnn.errors import DataError, OptionError

Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow (extra `data`)")

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n{} loop\n"


def png(width, height, *, depth=8, color=0, data=b"", extra=b""):
    """Return a PNG that announces a size, whatever it holds."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


@pytest.mark.skipif(os.name == "nt", reason="a program called gs as POSIX has them")
def test_postscript_is_not_run_whatever_it_is_called(tmp_path, monkeypatch):
    trace = tmp_path / "was run"
    for name in ("gs", "gswin64c"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\ntouch '{trace}'\nsleep 60\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name in ("a.png", "a.eps", "a.ps", "a.jpg"):
        (tmp_path / name).write_bytes(POSTSCRIPT)
        with pytest.raises(DataError, match="a file in none of the formats PNG, JPEG"):
            read_image(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["TGA", "ICO", "PCX", "SGI", "PSD", "XBM", "DDS", "MSP", "JPEG2000"])
def test_other_formats_are_refused_though_pillow_reads_them(tmp_path, kind):
    file = tmp_path / "a.png"
    if kind == "PSD":
        file.write_bytes(b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + bytes(64))
    else:
        mode = "1" if kind in ("XBM", "MSP") else "RGB"
        try:
            Image.new(mode, (16, 16)).save(file, format=kind)
        except (OSError, KeyError):
            pytest.skip(f"this Pillow writes no {kind}")
    with pytest.raises(DataError, match="expected a picture that can be read"):
        read_image(file)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_named_formats_are_read(tmp_path, kind):
    try:
        Image.new("RGB", (6, 4), "white").save(tmp_path / "a", format=kind)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {kind}")
    np.testing.assert_array_equal(read_image(tmp_path / "a", size=None), np.ones((1, 4, 6)))


BOMBS = {
    "gray": png(30_000, 30_000, data=bytes(1 << 20)),
    "above Pillow's own limit": png(100_000, 100_000),
    "as large as the format allows": png((1 << 31) - 1, (1 << 31) - 1),
    "bits": png(60_000, 60_000, depth=1, data=bytes(1 << 20)),
    "palette": png(20_000, 10_000, color=3, data=bytes(1 << 20)),
    "16 bits": png(20_000, 10_000, depth=16, color=6, data=bytes(1 << 20)),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0xF0, 0, 0) + bytes(6) + b",",
    "bmp": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "ppm": b"P6 90000 90000 255\n",
    "webp": b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff\x3f\0" * 2 + bytes(20),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_a_picture_of_more_pixels_than_allowed_is_refused_before_it_is_decoded(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with (
        memory_of(8 << 20),
        pytest.raises(DataError, match=r"a\.png: expected a picture that can be read"),
    ):
        read_image(tmp_path / "a.png")


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory as Linux counts it")
def test_a_small_file_of_a_large_picture_takes_no_memory(tmp_path):
    (tmp_path / "a.png").write_bytes(BOMBS["gray"])
    code = (
        "import resource, sys, fnn, PIL.Image, PIL.PngImagePlugin\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "fnn.read_image; before = peak()\n"
        "try: fnn.read_image(sys.argv[1])\n"
        "except fnn.DataError: print((peak() - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 40


def test_the_budget_of_pixels_is_said_and_can_be_set(tmp_path, monkeypatch):
    Image.new("L", (20, 10)).save(tmp_path / "a.png")
    expected = r"one of 20×10 pixels, above 199 \(max_pixels or \$FNN_LIMITS allows more\)"
    with pytest.raises(DataError, match=expected):
        read_image(tmp_path / "a.png", max_pixels=199)
    assert read_image(tmp_path / "a.png", max_pixels=200, size=None).shape == (1, 10, 20)
    (tmp_path / "classes" / "a").mkdir(parents=True)
    shutil.copy(tmp_path / "a.png", tmp_path / "classes" / "a")
    with pytest.raises(DataError, match="above 199"):
        image_folder(tmp_path / "classes", max_pixels=199)
    monkeypatch.setenv("FNN_LIMITS", "pixels=100")
    with pytest.raises(DataError, match="above 100"):
        read_image(tmp_path / "a.png")
    for wrong in (0, -1, 1.5, "9"):
        with pytest.raises(OptionError, match="max_pixels"):
            read_image(tmp_path / "a.png", max_pixels=wrong)


def test_a_file_larger_than_its_pixels_could_be_is_refused_unread(tmp_path):
    with (tmp_path / "a.webp").open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWEBPVP8 ")
        file.truncate(1 << 40)
    with memory_of(1 << 20), pytest.raises(DataError, match=r"a file of 1,099,511,627,776 bytes"):
        read_image(tmp_path / "a.webp")


MODES = ["1", "L", "P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
SIZES = [(1, 1), (1, 300), (300, 1), (17, 5)]


@pytest.mark.parametrize("mode", [*MODES, "I", "I;16", "I;16B", "I;16L", "F"])
def test_unusual_modes_and_sizes_are_read_or_refused_by_name(tmp_path, mode):
    read = 0
    for kind in FORMATS:
        for size in SIZES:
            file = tmp_path / f"a.{kind}"
            try:
                Image.new(mode, size).save(file, format=kind)
            except (OSError, KeyError, ValueError, TypeError):
                continue
            for wanted in (None, (1, 1), (7, 3)):
                for gray in (True, False):
                    try:
                        x = read_image(file, size=wanted, gray=gray)
                    except DataError as error:
                        assert f"a.{kind}: expected a picture that can be read" in str(error)  # noqa: PT017
                        continue
                    assert x.shape == (1 if gray else 3, *(wanted or size[::-1]))
                    assert x.dtype == np.float32
                    assert 0 <= x.min() <= x.max() <= 1
                    read += 1
    assert read or mode in ("PA", "La", "RGBa", "YCbCr", "LAB", "HSV", "F", "I;16L", "I;16B")


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_picture_without_pixels_is_refused(tmp_path, size):
    files = {
        "png": png(*size),
        "gif": b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0) + b",\0\0\0\0\0\0\0\0\0\2\2\0\0;",
        "ppm": f"P5 {size[0]} {size[1]} 255\n".encode(),
        "bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, *size, 1, 24, 0, 0, 0, 0, 0, 0),
    }
    for kind, data in files.items():
        (tmp_path / f"a.{kind}").write_bytes(data)
        for wanted in (None, (4, 4)):
            with pytest.raises(DataError, match="expected a picture that can be read"):
                read_image(tmp_path / f"a.{kind}", size=wanted)


def test_of_an_animation_the_first_picture_is_read(tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in (255, 0, 128)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        try:
            frames[0].save(tmp_path / "a", format=kind, save_all=True, append_images=frames[1:])
        except (OSError, KeyError):
            continue
        assert read_image(tmp_path / "a", size=None).min() == 1


def test_the_transparent_gray_of_16_bits_is_white(tmp_path):
    values = np.array([[0, 300], [257, 65535]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    kind, body = b"tRNS", struct.pack(">H", 300)
    extra = struct.pack(">I", 2) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    (tmp_path / "a.png").write_bytes(png(2, 2, depth=16, data=rows, extra=extra))
    expected = np.array([[0, 255], [1, 255]], np.float32) / np.float32(255)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", size=None)[0], expected)


# --- folders


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as POSIX has them")
def test_links_below_a_folder_of_pictures_are_refused_unless_they_are_ones_own(tmp_path):
    canary = Canary(tmp_path / "home")
    (tmp_path / "set" / "cats").mkdir(parents=True)
    Image.new("L", (2, 2)).save(tmp_path / "own.png")
    shutil.copy(tmp_path / "own.png", tmp_path / "set" / "cats" / "a.png")
    expected = "expected no links below a folder of pictures"
    (tmp_path / "set" / "cats" / "b.png").symlink_to(tmp_path / "own.png")
    with pytest.raises(DataError, match=expected):
        image_folder(tmp_path / "set")
    assert len(image_folder(tmp_path / "set", links=True)[0]) == 2
    (tmp_path / "set" / "cats" / "b.png").unlink()
    (tmp_path / "set" / "dogs").symlink_to("cats")
    with pytest.raises(DataError, match=rf"dogs: {expected}"):
        image_folder(tmp_path / "set")
    assert image_folder(tmp_path / "set", links=True)[1] == ("cats", "dogs")
    (tmp_path / "set" / "dogs").unlink()
    (tmp_path / "mine").symlink_to(tmp_path / "set")
    assert image_folder(tmp_path / "mine")[1] == ("cats",)
    (tmp_path / "link.png").symlink_to(tmp_path / "own.png")
    assert read_image(tmp_path / "link.png").shape == (1, 28, 28)
    canary.check()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as POSIX has them")
def test_a_pipe_among_pictures_keeps_nobody_waiting(tmp_path):
    (tmp_path / "cats").mkdir()
    os.mkfifo(tmp_path / "cats" / "a.png")
    done = threading.Event()

    def read():
        for reading in (
            lambda: image_folder(tmp_path),
            lambda: read_image(tmp_path / "cats" / "a.png"),
        ):
            with pytest.raises(
                DataError, match=r"a\.png: expected a picture, got something that is not"
            ):
                reading()
        done.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert done.is_set()


@pytest.mark.skipif(os.name == "nt", reason="such names as POSIX has them")
def test_control_characters_in_the_names_of_classes_are_shown_escaped(tmp_path):
    name = "cats\nalias sudo=true\x1b[2J"
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"cats\\nalias sudo=true\\x1b\[2J: expected at least one"):
        image_folder(tmp_path)
    Image.new("L", (2, 2)).save(tmp_path / name / "a.png")
    assert image_folder(tmp_path)[1] == (r"cats\nalias sudo=true\x1b[2J",)
