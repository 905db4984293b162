"""The door to files: no link below a folder is followed, nobody waits, limits hold."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from fnn import files
from fnn.errors import DataError, OptionError
from fnn.files import opening

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as POSIX has them")

SECRET = "what nobody may read or change\n"


@pytest.fixture(params=["descriptors", "paths"])
def place(tmp_path, request, monkeypatch):
    """A stranger's folder beside a secret; with open folders, and as systems do that lack them."""
    if request.param == "paths":
        monkeypatch.setattr(opening, "_DIRECT", False)
        monkeypatch.setattr(opening, "_NO_LINK", 0)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text(SECRET)
    folder = tmp_path / "run"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "deep" / "file").write_text("inside\n")
    (folder / "file").write_text("inside\n")
    (folder / "linked").symlink_to(tmp_path / "outside")
    (folder / "sub" / "linked").symlink_to("../../outside")
    (folder / "link").symlink_to(tmp_path / "outside" / "secret")
    (folder / "dangling").symlink_to(tmp_path / "outside" / "new")
    (folder / "loop").symlink_to("loop")
    (folder / "inner").symlink_to("file")
    os.mkfifo(folder / "pipe")
    yield folder
    assert sorted(each.name for each in (tmp_path / "outside").iterdir()) == ["secret"]
    assert (tmp_path / "outside" / "secret").read_text() == SECRET


def read(path, folder):
    return files.content(path, within=folder, most=100)


def replace(path, folder):
    with files.replacing(path, within=folder) as file:
        file.write(b"new\n")


WAYS = {
    "read": read,
    "append": lambda path, folder: files.append(path, b"more\n", within=folder),
    "create": lambda path, folder: files.create(path, b"new\n", within=folder),
    "replace": replace,
    "list": lambda path, folder: files.names(path, within=folder),
    "remove": lambda path, folder: files.remove(path, within=folder),
    "present": lambda path, folder: files.present(path, within=folder),
    "make": lambda path, folder: files.make_folder(path, within=folder),
}
BEYOND = ["linked/secret", "linked/new", "sub/linked/secret", "sub/linked/new", "link/x", "loop/x"]
REFUSED = (OSError, DataError)


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_folder_on_the_way_is_a_link(place, way, name):
    with pytest.raises(REFUSED, match=r"a link, which is not followed"):
        way(place / name, place)


@pytest.mark.parametrize("name", ["link", "dangling", "loop", "inner", "linked"])
@pytest.mark.parametrize("way", ["read", "append", "create", "list", "present", "make"])
def test_no_link_is_followed_itself(place, way, name):
    with pytest.raises(OSError, match=r"a link, which is not followed|File exists"):
        WAYS[way](place / name, place)


@pytest.mark.parametrize("name", ["link", "dangling", "loop", "inner"])
def test_a_link_is_replaced_and_removed_as_what_it_is(place, name):
    replace(place / name, place)
    assert not (place / name).is_symlink()
    assert (place / name).read_text() == "new\n"
    assert (place / "file").read_text() == "inside\n"
    (place / "again").symlink_to("file")
    files.remove(place / "again", within=place)
    assert (place / "file").exists()
    assert not (place / "again").is_symlink()


@pytest.mark.parametrize("way", ["read", "append", "present"])
def test_nobody_waits_for_a_pipe_a_device_or_a_socket(place, tmp_path, way, monkeypatch):
    monkeypatch.chdir(place)  # The names of sockets are short.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for name in ("pipe", "socket"):
            with pytest.raises(OSError, match="Not a regular file"):
                WAYS[way](place / name, place)
    for path in ("/dev/zero", "/dev/tty", "/dev/full"):
        if Path(path).exists():
            with pytest.raises(OSError, match="Not a regular file"):
                WAYS[way](Path(path), Path("/dev"))


def test_what_is_inside_is_read_and_written(place):
    deep = place / "sub" / "deep" / "file"
    assert read(deep, place) == b"inside\n"
    files.append(deep, b"more\n", within=place)
    replace(place / "new" / "er" / "file", place)
    files.create(place / "made", b"1", within=place)
    assert deep.read_text() == "inside\nmore\n"
    assert (place / "new" / "er" / "file").read_text() == "new\n"
    assert files.names(place / "sub", within=place) == ["deep", "linked"]
    assert files.present(place / "made", within=place)
    assert not files.present(place / "no" / "such", within=place)
    files.remove(place / "made", within=place)
    files.remove(place / "made", within=place)
    assert not (place / "made").exists()
    assert (place / "new").stat().st_mode & 0o7777 == (place / "sub").stat().st_mode & 0o7777


def test_the_folder_that_is_named_may_be_a_link_and_so_may_a_file_that_is(place, tmp_path):
    (tmp_path / "mine").symlink_to(place)
    assert read(tmp_path / "mine" / "file", tmp_path / "mine") == b"inside\n"
    assert files.content(place / "link", most=100) == SECRET.encode()
    with pytest.raises(OSError, match="Not a regular file"):
        files.content(place / "pipe", most=100)


@pytest.mark.parametrize("name", ["../outside/secret", "sub/../../outside/secret", "..", ".", ""])
def test_a_path_that_leaves_the_folder_is_refused(place, name):
    for way in ("read", "append", "create", "replace", "remove"):
        with pytest.raises(DataError, match="expected a path within"):
            WAYS[way](os.path.join(place, name), place)
    with pytest.raises(DataError, match="expected a path within"):
        read(place.parent / "outside" / "secret", place)


def test_a_second_name_elsewhere_gets_no_line(place, tmp_path):
    os.link(tmp_path / "outside" / "secret", place / "log.txt")
    files.append(place / "log.txt", b"alias rm=echo\n", within=place)
    assert (place / "log.txt").read_text() == SECRET + "alias rm=echo\n"
    assert sorted(each.name for each in place.iterdir() if "tmp" in each.name) == []


def test_a_link_that_takes_the_place_of_a_file_while_it_is_opened_is_not_followed(place, monkeypatch):
    seen, stat_before = [], os.stat

    def stat_and_swap(path, *more, **words):
        found = stat_before(path, *more, **words)
        if Path(path).name == "file" and not seen:
            seen.append(path)
            (place / "file").unlink()
            (place / "file").symlink_to("../outside/secret")
        return found

    monkeypatch.setattr(os, "stat", stat_and_swap)
    with pytest.raises(OSError, match=r".") as caught:
        read(place / "file", place)
    assert caught.value.errno in (errno.ELOOP, errno.EMLINK)
    assert seen


def test_a_file_that_a_writer_replaces_while_it_is_opened_is_read(place):
    over = threading.Event()

    def rewrite():
        while not over.is_set():
            replace(place / "file", place)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(300):
            assert read(place / "file", place) in (b"new\n", b"inside\n")
    finally:
        over.set()
        thread.join()


# --- limits


def test_a_file_above_its_limit_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert files.content(tmp_path / "file", most=5) == b"12345"
    with pytest.raises(OSError, match="Larger than 4 bytes"):
        files.content(tmp_path / "file", most=4)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="Larger than 1,048,576 bytes"):
        files.content(tmp_path / "sparse", most=1 << 20)


def test_limits_are_set_by_argument_or_environment(monkeypatch):
    assert files.limit("run") == files.LIMITS["run"]
    monkeypatch.setenv("FNN_LIMITS", "run=123, pixels=7")
    assert (files.limit("run"), files.limit("pixels")) == (123, 7)
    assert files.limit("tree") == files.LIMITS["tree"]
    assert files.limit("run", 5) == 5
    for given in (0, -1, 1.5, True, "7"):
        with pytest.raises(OptionError, match="run: expected a limit of 1 or more"):
            files.limit("run", given)
    for text in ("runs=1", "run", "run=-1", "run=1e3", "run=²", "run=" + "9" * 30):
        monkeypatch.setenv("FNN_LIMITS", text)
        with pytest.raises(OptionError, match="FNN_LIMITS: expected KIND=NUMBER"):
            files.limit("run")
