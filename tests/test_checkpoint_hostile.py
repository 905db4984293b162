"""Files made to harm: refused with a typed error, within 4 times their size, and never executed."""

import hashlib
import io
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from test_checkpoint import _Bomb, archive, npy, seal
from test_checkpoint_runs import trained

from fnn.errors import DataError
from fnn.runs.checkpoint import load_checkpoint, load_tree, read_about, save_checkpoint, save_tree

LOCAL = struct.Struct("<4s5H3L2H")
END = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)
# What any file may ask for, however small it is.
SLACK = 1 << 20


def member(name, content, *, method=0, flags=0, stored=None, length=None, extra=b""):
    """Return a member of a zip archive that may say of itself what it likes."""
    stored = len(content) if stored is None else stored
    length = len(content) if length is None else length
    name = name.encode() if isinstance(name, str) else name
    sizes = (0, stored, length, len(name), len(extra))
    return LOCAL.pack(b"PK\3\4", 20, flags, method, 0, 0, *sizes) + name + extra + content


def array(header, content=b""):
    """Return a member's content with any header before any bytes."""
    header = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + content


def described(shape, dtype="|u1", order="False"):
    return f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n"


def peak(path, read=load_checkpoint, refuses=True):
    tracemalloc.start()
    try:
        if refuses:
            with pytest.raises(DataError) as caught:
                read(path)
            assert str(path) in str(caught.value)
        else:
            read(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SLACK = (1 << 17) + io.DEFAULT_BUFFER_SIZE  # An open file has a buffer, of 128 KiB since Python 3.14.
BYTES = bytes(100_000)
HUGE = (1 << 32) - 1
LIE = array(described("(4000000000,)"))
ALL = len(LIE) + 4_000_000_000
WHOLE = array(described("(100000,)"), BYTES)
MEMBERS = {
    "a size beyond the file": member("w.npy", WHOLE, stored=HUGE, length=HUGE),
    "a size and a shape beyond the file": member("w.npy", LIE + BYTES, stored=ALL, length=ALL),
    "another size than what is stored": member("w.npy", WHOLE, stored=7),
    "a length beyond what is stored": member("w.npy", WHOLE, length=HUGE),
    "a stored size of nothing": member("w.npy", WHOLE, stored=0, length=0),
    "a shape beyond the member": member("w.npy", array(described("(4000000000,)"), BYTES)),
    "a shape beyond any memory": member("w.npy", array(described("(9" + "9" * 30 + ",)"), BYTES)),
    "a shape of more digits than Python reads": member(
        "w.npy", array(described("(" + "9" * 5000 + ",)"), BYTES)
    ),
    "a shape that is nothing times anything": member(
        "w.npy", array(described("(0, 9000000000000000000, 9000000000000000000)"))
    ),
    "more axes than NumPy has": member("w.npy", array(described("(" + "1, " * 9000 + ")"), b"1")),
    "large items": member("w.npy", array(described("(1,)", "|u99"), BYTES)),
    "items of no size": member("w.npy", array(described("(100000,)", "|u0"), BYTES)),
    "objects": member("w.npy", array(described("(100000,)", "|O"), BYTES)),
    "objects of eight bytes": member("w.npy", array(described("(12500,)", "|O8"), BYTES)),
    "records": member("w.npy", array(described("(1,)", "|V9"), BYTES)),
    "text": member("w.npy", array(described("(1,)", "<U9"), BYTES)),
    "a header of code": member("w.npy", array("__import__('os').system('touch ran')\n", BYTES)),
    "a header of brackets": member("w.npy", array("(" * 60000, BYTES)),
    "a header longer than its file": member("w.npy", b"\x93NUMPY\1\0\xff\xff{"),
    "a header of version 2": member("w.npy", b"\x93NUMPY\2\0" + WHOLE[8:]),
    "no header": member("w.npy", b""),
    "an encrypted member": member("w.npy", WHOLE, flags=1),
    "sizes that come later": member("w.npy", WHOLE, flags=8),
    "another compression": member("w.npy", WHOLE, method=12),
    "a path upwards": member("../../w.npy", b"not an array"),
    "a path of backslashes": member("..\\w.npy", b"not an array"),
    "a path of one name too many": member("/".join("a" * 70) + ".npy", WHOLE),
    "a path of 60,000 letters": member("a" * 60000, WHOLE),
    "a path of no text": member(b"\xff\xfe.npy", WHOLE),
    "an empty path": member(".npy", WHOLE),
    "the same path twice": member("w.npy", WHOLE) * 2,
    "a leaf below itself": member("w.npy", WHOLE) + member("w/w.npy", WHOLE),
    "bytes between members": member("w.npy", WHOLE) + b"between" + member("v.npy", WHOLE),
    "a member cut short": member("w.npy", WHOLE)[:-1],
    "extra bytes over the end": member("w.npy", WHOLE, extra=bytes(60000))[:40000],
}


@pytest.mark.parametrize("read", [load_tree, load_checkpoint, read_about])
@pytest.mark.parametrize("what", MEMBERS)
def test_what_members_say_of_themselves_is_not_believed(tmp_path, monkeypatch, what, read):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.npz"
    path.write_bytes(seal(MEMBERS[what] + END))
    assert peak(path, read) < 4 * path.stat().st_size + SLACK
    assert [file.name for file in tmp_path.iterdir()] == ["c.npz"]


def test_a_member_without_a_directory_behind_it_is_read_as_it_is(tmp_path):
    (tmp_path / "c.npz").write_bytes(seal(member("a/w.npy", WHOLE) + END))
    assert load_tree(tmp_path / "c.npz") == {"a": {"w": np.zeros(100_000, np.uint8)}}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_bombs_do_not_unfold(tmp_path, method):
    bomb = seal(archive(("now/step.npy", npy(np.zeros(1 << 22))), method=method))
    assert len(bomb) < 1 << 18
    (tmp_path / "c.npz").write_bytes(bomb)
    assert peak(tmp_path / "c.npz") < 4 * len(bomb) + SLACK


CROWDS = {
    "leaves of one byte": [(f"{i:x}.npy", array(described("()"), b"a")) for i in range(20_000)],
    "leaves of nothing": [(f"{i:x}.npy", array(described("(0,)"))) for i in range(20_000)],
    "leaves of 32 axes": [
        (f"{i:x}.npy", array(described("(" + "1," * 32 + ")"), b"a")) for i in range(9000)
    ],
    "a branch for every leaf": [(f"{i:x}/a.npy", array(described("()"), b"a")) for i in range(20_000)],
    "empty branches": [(f"{i:x}/", b"") for i in range(50_000)],
    "deep branches": [(f"{i:x}/" + "/".join("a" * 60) + "/", b"") for i in range(5000)],
}


@pytest.mark.parametrize("what", CROWDS)
def test_crowds_of_small_things_take_no_more_than_four_times_their_file(tmp_path, what):
    path = tmp_path / "c.npz"
    path.write_bytes(seal(b"".join(member(*each) for each in CROWDS[what]) + END))
    assert peak(path) < 4 * path.stat().st_size + SLACK


def test_a_checkpoint_of_nothing_but_text_takes_no_more_than_four_times_its_file(tmp_path):
    path = tmp_path / "c.npz"
    save_checkpoint(path, trained())
    members = dict(load_tree(path))
    for text in (b"[" + b"[]," * 500_000 + b"[]]", b'{"a":' + b"[[]," * 500_000):
        save_tree(path, members | {"about": np.frombuffer(text, np.uint8)})
        assert peak(path, read_about) < 4 * path.stat().st_size + SLACK
    about = {"lines": [["a", i] for i in range(100_000)]}
    save_checkpoint(path, trained(), about=about)
    assert peak(path, read_about, refuses=False) < 4 * path.stat().st_size + SLACK
    assert read_about(path) == about


def test_objects_in_a_checkpoint_are_never_unpickled(tmp_path):
    bomb = npy(np.array([_Bomb(tmp_path / "ran")], object), allow_pickle=True)
    path = tmp_path / "c.npz"
    for name in ("checkpoint.npy", "about.npy", "now/step.npy", "records/0.npy"):
        path.write_bytes(seal(archive((name, bomb))))
        for read in (load_checkpoint, load_tree, read_about):
            with pytest.raises(DataError, match="expected an array of numbers"):
                read(path)
    assert not (tmp_path / "ran").exists()


def test_reading_a_checkpoint_loads_no_module_that_unpickles(tmp_path):
    save_checkpoint(tmp_path / "c.npz", trained())
    code = (
        "import sys, pickle; pickle.loads = pickle.load = pickle.Unpickler = None; "
        "from fnn.runs.checkpoint import load_checkpoint as load; load(sys.argv[1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "c.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_digest_of_another_place_does_not_count(tmp_path):
    save_checkpoint(tmp_path / "c.npz", trained())
    content = bytearray((tmp_path / "c.npz").read_bytes())
    content[200] ^= 1
    wrong = hashlib.sha256(content[:-65]).hexdigest().encode()
    (tmp_path / "c.npz").write_bytes(content[:-64] + wrong)
    with pytest.raises(DataError, match="content differs from its sha256"):
        load_checkpoint(tmp_path / "c.npz")
