"""Download MNIST: two mirrors, pinned digests, and a file in place only when it is the right one."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from fnn.datasets.idx import describe
from fnn.errors import DataError
from fnn.files import PathLike, opened, replacing, shown

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
# The largest of the four files has 10 MB; a mirror that sends without end is cut off here.
_MOST_BYTES = 32 << 20
_SECONDS = 30


class _Sink:
    """A file to download into that digests what it is given and refuses more than it should hold."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sum, self.size, self.start = file, hashlib.sha256(), 0, b""
        self._closed, self._lock = False, threading.Lock()

    def write(self, part: bytes) -> int:
        with self._lock:
            if self._closed:
                raise DataError("came too late")
            self.size += len(part)
            if self.size > _MOST_BYTES:
                raise DataError(f"expected at most {_MOST_BYTES} bytes, got more")
            self.start = self.start or part[:64]
            self.sum.update(part)
            return self.file.write(part)

    def close(self) -> None:
        """Take nothing more."""
        with self._lock:
            self._closed = True

    def flush(self) -> None:
        """Leave flushing to the end: a call per chunk would cost a system call each."""


def _digest(path: Path) -> str | None:
    try:
        with opened(path, within=path.parent) as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                return None
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _in_time(work: Callable[[], object], sink: _Sink, seconds: float) -> None:
    """Do some work that fills the sink, and leave it to itself when its time is over.

    A mirror that sends a byte a second never runs into the time limit of a single read. No call of a
    library that reads from it can be ended from outside; in a thread of its own it can be left.
    """
    # As text: an error would keep the connection that it came from open.
    faults: list[str] = []

    def attempt() -> None:
        try:
            work()
        except Exception as error:
            faults.append(str(error) or repr(error))

    thread = threading.Thread(target=attempt, daemon=True)
    try:
        thread.start()
        ends = time.monotonic() + seconds
        # In short waits, since Windows does not let Ctrl-C into a long one.
        while thread.is_alive() and (left := ends - time.monotonic()) > 0:
            thread.join(min(left, 0.2))
        if thread.is_alive():
            raise DataError(
                f"expected all files within the mirror's time, got {sink.size} bytes of one"
            )
    finally:
        sink.close()
    if faults:
        raise DataError(faults[0])


def _download(pooch: Any, url: str, path: Path, sha256: str, seconds: float) -> None:
    # Servers may otherwise send the file under a second gzip, and requests would take off both.
    downloader = pooch.HTTPDownloader(timeout=_SECONDS, headers={"Accept-Encoding": "identity"})
    with replacing(path, within=path.parent) as file:
        sink = _Sink(file)
        _in_time(lambda: downloader(url, sink, None), sink, seconds)
        if sink.sum.hexdigest() != sha256:
            got = f"{describe(sink.start)} ({sink.size} bytes, sha256 {sink.sum.hexdigest()})"
            raise DataError(f"expected sha256 {sha256}, got {got}")


def _by_hand(folder: Path, mirrors: Sequence[str], sha256: dict[str, str]) -> str:
    files = "\n".join(f"  {name}  sha256 {digest}" for name, digest in sha256.items())
    sources = "\n".join(f"  {mirror}" for mirror in mirrors)
    return (
        f"By hand: put these four files\n{files}\nfrom one of\n{sources}\n"
        f"or from any other copy of MNIST (gzipped or not) into the folder\n  {folder.resolve()}\n"
        "or into another one, and name it in $FNN_DATA."
    )


def fetch_mnist(
    folder: PathLike = "data/mnist",
    *,
    mirrors: Sequence[str] = MIRRORS,
    sha256: dict[str, str] | None = None,
    seconds: float = 600.0,
    say: Callable[[str], object] = lambda line: None,
) -> Path:
    """Download the four files of MNIST into `folder` and return it; needs pooch (extra `data`).

    A file that is there with the right digest is kept; any other under its name is replaced, whole
    and only by the right one.

    Args:
        folder: Where to; made if need be.
        mirrors: Addresses to which a file's name is added, tried in turn.
        sha256: The digests expected, by file name; by default those of MNIST.
        seconds: How long a mirror may take for all files together; after that it is asked no more.
        say: Called with a line on every file.

    Raises:
        DataError: If no mirror gave a file; says each one's reason, and what to do by hand.
        ImportError: If pooch is not installed.
    """
    try:
        import pooch
    except ImportError:
        raise ImportError('downloading needs pooch: pip install "fnn[data]"') from None
    there, sha256 = Path(folder), SHA256 if sha256 is None else sha256
    try:
        there.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{there}: expected a folder to write into, got {error.strerror}") from None
    left = dict.fromkeys(mirrors, float(seconds))
    for name, digest in sha256.items():
        path, reasons = there / name, []
        if _digest(path) == digest:
            say(f"{path}: already there")
            continue
        for mirror in mirrors:
            began = time.monotonic()
            try:
                if left[mirror] <= 0:
                    raise DataError(f"took its {seconds:g} seconds already")
                _download(pooch, mirror + name, path, digest, left[mirror])
            except Exception as error:  # whatever a mirror does wrong, the next one may do right
                reasons.append(f"  {mirror + name}: {shown(str(error) or repr(error))}")
            else:
                say(f"{path}: fetched from {mirror}")
                break
            finally:
                left[mirror] -= time.monotonic() - began
        else:
            # An empty folder would only look as if there were something in it.
            if not any(there.iterdir()):
                there.rmdir()
            tried = "\n".join(reasons)
            advice = _by_hand(there, mirrors, sha256)
            raise DataError(f"{path}: expected a mirror to have it, got\n{tried}\n{advice}")
    return there
