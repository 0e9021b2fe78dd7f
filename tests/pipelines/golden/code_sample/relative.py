"""Syntax that Python versions have parsed differently or may: this file is reached by a relative name."""
# ruff: noqa
# fmt: off

import asyncio
from dataclasses import dataclass, field

numbers = [1, 1.0, True, None, ..., 1e400, 1j, 0x10, 10**20, 12345678901234567890, b"\x00\xff", "\ud800"]
name, width = "x", 7
strings = [
    "a" f"{name}" "b",
    f"",
    f"{name:}",
    f"{name!r:>{width}}",
    f"{name = }",
    f"{{literal}} {name:%Y-%m-%d} \n",
    rf"\d{name}\n",
    f"outer {f'inner {name:.2f}'} end",
    "implicit " "concatenation",
    u"kind",
]


@dataclass
class Point:
    x: float = field(default=0.0)
    y: "float" = 0.0


def keywords(first, /, second, *rest, flag=None, **more):
    with open(first) as file, open(second):
        yield from file
    try:
        del rest[0], more["x"]
    except* ValueError:
        raise
    return [a for a in b] if (b := flag) else lambda *, c=1: (c, *rest)


async def matching(value):
    match value:
        case {"a": [1, *tail], **others} if tail:
            await asyncio.sleep(0)
        case Point(x=0) | None | -1.5:
            return others
        case _:
            ...
    for i in range(3):
        while i:
            break
    else:
        assert not i, "message"
    x = y = value[1:2, ::3]
    x @= y
    return not x < y <= 3 and {**value} or {*value}
