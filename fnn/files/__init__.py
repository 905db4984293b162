"""The door to files: what may come from a stranger is never followed, executed or believed.

A run's folder, a model, a picture or an archive may have been made by somebody who means harm. So,
wherever this library reads or writes one:

Nothing is followed. `within=` names the folder that the caller chose; below it no link is followed, be
it the file or a folder on the way, to read, to write, to list or to remove. A file that has a second
name elsewhere (a hard link) is copied before anything is added to it. What the caller names itself,
without `within`, is the caller's own and may be a link. Only regular files are opened: no pipe makes
anybody wait, and no device is touched.

Nothing is executed. No pickle is read, no name is imported, and of Pillow's readers only those of a
few named formats are asked, none of which starts another program.

Nothing is believed. What a file announces is compared with what it holds before memory is taken, and
with a limit of its format (`LIMITS`, set by arguments or by $FNN_LIMITS). What is read is checked
before it is used, and the error that refuses it is typed: a `DataError`, or an OSError from what opens
files here, lists and removes them. Names are shown with their control characters escaped
(`shown`), so that none moves a terminal's cursor or passes for a line of its own.

Everything that touches such a folder comes in through here; a test reads the sources and holds it.
"""

from fnn.files.limits import LIMITS, limit
from fnn.files.opening import (
    PathLike,
    append,
    appending,
    content,
    create,
    holding,
    names,
    opened,
    present,
    remove,
)
from fnn.files.text import lenient_output, parse_json, shown, write_line
from fnn.files.writing import is_temporary, make_folder, remove_leftovers, replacing

__all__ = [
    "LIMITS",
    "PathLike",
    "append",
    "appending",
    "content",
    "create",
    "holding",
    "is_temporary",
    "lenient_output",
    "limit",
    "make_folder",
    "names",
    "opened",
    "parse_json",
    "present",
    "remove",
    "remove_leftovers",
    "replacing",
    "shown",
    "write_line",
]
