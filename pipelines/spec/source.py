"""From a path to the text of a spec file, or one clear word on why there is none.

Everything that would make the YAML parser stumble in its own words (other encodings, control characters,
merge-conflict markers) is recognised here by name.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.spec.location import Location
from pipelines.spec.problems import Problems

MAX_BYTES = 2_000_000

_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_CONFLICT = re.compile(r"^(<<<<<<<|=======|>>>>>>>|\|\|\|\|\|\|\|)(?=[ \r\n]|$)", re.MULTILINE)
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


def read_source(file: str, problems: Problems) -> str | None:
    """The text of `file`; None after noting in `problems` why it cannot be a spec.

    Reads at most one byte more than a spec may have.
    """
    start = Location(file, 1, 1)
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        problems.add(start, "", "no such file", expected="the path of a spec (a YAML file)")
    except IsADirectoryError:
        problems.add(start, "", "is a folder", expected="the path of a spec (a YAML file)")
    except (OSError, ValueError) as error:
        problems.add(start, "", f"cannot be read: {getattr(error, 'strerror', None) or error}")
    else:
        return decode_source(data, file, problems)
    return None


def decode_source(data: bytes, file: str, problems: Problems) -> str | None:
    """`data` as text, registered in `problems.sources`; None after noting why it is no text."""
    start = Location(file, 1, 1)
    if len(data) > MAX_BYTES:
        problems.add(
            start, "", f"the file is larger than {MAX_BYTES // 1_000_000} MB", expected="a spec, not a data file"
        )
        return None
    for bom, encoding in _BOMS.items():
        if data.startswith(bom):
            problems.add(start, "", f"the file is {encoding}", expected="UTF-8: save it in that encoding")
            return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        problems.add(
            _end_of(before, file),
            "",
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            expected="UTF-8: save the file in that encoding",
        )
        return None
    problems.sources[file] = text
    return text if _is_clean(text, file, problems) else None


def _is_clean(text: str, file: str, problems: Problems) -> bool:
    if strange := _NOT_TEXT.search(text):
        code = ord(strange.group())
        name = "a NUL byte" if code == 0 else f"the control character U+{code:04X}"
        problems.add(_end_of(text[: strange.start()], file), "", f"{name} in the file", expected="plain text")
        return False
    conflicts = list(_CONFLICT.finditer(text))
    for conflict in conflicts:
        problems.add(
            _end_of(text[: conflict.start()], file),
            "",
            f"a merge-conflict marker ({conflict.group()})",
            expected="one side of the conflict: resolve it and delete the markers",
        )
    return not conflicts


def _end_of(before: str, file: str) -> Location:
    """The place right after the text `before`."""
    lines = _LINE_BREAK.split(before)
    return Location(file, len(lines), len(lines[-1]) + 1)
