"""Handing out stored bytes as files of the user's own."""

from __future__ import annotations

import errno
import fcntl
import hashlib
from pathlib import Path

CHUNK = 8 << 20
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file until one of the two is written to
_CANNOT = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.ETXTBSY}


def copy_hashed(source: Path, target: Path) -> str:
    """Write the bytes of `source` to a new file `target`; the sha256 of what was written.

    The copy is a clone where the file system can (btrfs, XFS, ZFS: no space, no time), and is never a hard link: its
    owner may edit it without touching `source`.
    """
    hasher = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as written:
        cloned = _clone(read.fileno(), written.fileno())
        while chunk := read.read(CHUNK):
            hasher.update(chunk)
            if not cloned:
                written.write(chunk)
    return hasher.hexdigest()


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True
