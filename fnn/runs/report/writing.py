"""Reports on disk: report.html and report.md, in the run's folder or where one is told."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from pathlib import Path

from fnn.errors import DataError, OptionError
from fnn.files import PathLike, names, opened, replacing
from fnn.runs.report import markdown, rendering
from fnn.runs.report.pages import page_of
from fnn.runs.report.reading import RunRecord, read
from fnn.runs.report.sweeps import SweepRecord, is_sweep, read_sweep, with_table

DEFAULT = Path("out/report")
"""Where a report of several runs goes."""
# What opening a link, and a pipe or a device, is refused with.
_SOMEBODYS = (errno.ELOOP, errno.EINVAL)
_PICTURE = re.compile(r"[\w-]+\.png")


def write(folders: Sequence[PathLike], out: PathLike | None = None) -> tuple[Path, Path]:
    """Write the report of one run, or of several compared; return where its HTML and Markdown are.

    A file of the same name that is not a report of this package is left alone; the new one is then
    called report-2.

    Args:
        folders: The folders of runs; that of a sweep stands for those of its members.
        out: A folder, or the name of the HTML file; for one run or sweep its own folder by default,
            for several `out/report`.

    Raises:
        OptionError: If there is no folder.
        DataError: If one is neither a run's nor a sweep's, is damaged, or the report cannot be
            written; names the file.
    """
    if not folders:
        raise OptionError("write: expected a run's folder or more, got none")
    runs: list[RunRecord] = []
    sweeps: list[SweepRecord] = []
    given = list(dict.fromkeys(map(Path, folders)))
    for folder in given:
        if is_sweep(folder):
            sweeps.append(read_sweep(folder))
            runs += sweeps[-1].runs
        else:
            runs.append(read(folder))
    page = with_table(page_of(runs), sweeps)
    place = given[0] if len(given) == 1 else DEFAULT
    if out is not None:
        place = Path(out)
    if place.suffix.lower() in (".html", ".htm"):
        file = place
    else:
        file = place / "report.html"
    html_file = _free(file, rendering.MARK)
    markdown_file = _free(file.with_suffix(".md"), markdown.MARK)
    text = markdown.to_markdown(page, _pictures(markdown_file.parent))
    for path, whole in ((html_file, rendering.to_html(page)), (markdown_file, text)):
        with replacing(path, within=path.parent) as writing:
            # What JSON may hold and UTF-8 may not is shown as a question mark.
            writing.write(whole.encode("utf-8", "replace"))
    return html_file, markdown_file


def _pictures(folder: Path) -> frozenset[str]:
    """Return the PNGs that Markdown in `folder` may refer to by their names."""
    try:
        return frozenset(filter(_PICTURE.fullmatch, names(folder)))
    except OSError:
        return frozenset()


def _free(path: Path, mark: str) -> Path:
    """Return `path`, or one with a number behind its name if somebody's own file has that name.

    So it is with a link or a pipe of that name, which is left alone too.
    """
    tried = path
    for i in range(2, 100):
        try:
            with opened(tried, within=tried.parent) as file:
                if mark.encode() in file.read(1000):
                    return tried
        except FileNotFoundError:
            return tried
        except OSError as error:
            if error.errno not in _SOMEBODYS:
                raise DataError(f"{tried}: cannot be written ({error.strerror or error})") from None
        tried = path.with_name(f"{path.stem}-{i}{path.suffix}")
    raise DataError(f"{path}: a hundred files of that name are there")
