"""Objects as files of a folder.

* **Whole or absent**: bytes go to ``.tmp/`` in the same file system, are fsynced, and get their name by
  link(2) (create) or rename(2) (replace). A killed writer leaves only a file in ``.tmp/``, which no key can
  name and which a later process removes.
* **Durable**: after `put_if_absent` the folder is fsynced too, so that of blob, tree and commit record a power
  failure can only lose the later ones. `put` skips that: a lost hint costs nothing.
* **Read-only**: created objects have mode 0444.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import StoreError
from pipelines.store.objects import ObjectInfo, ObjectNotFound, check_folder, check_key

STRAY_AGE = 86_400.0  # seconds after which a file in .tmp belongs to nobody
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalObjects:
    """Objects below the folder `root`, which is created by the first write."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self.url = str(self.root)
        self._base = self.url + "/"
        self._swept = False

    # -- reading

    def get(self, key: str) -> bytes:
        try:
            with open(self._file(key), "rb", buffering=0) as file:
                return file.readall()
        except _ABSENT:
            raise ObjectNotFound(key, self.url) from None
        except OSError as error:
            raise self._failed("read", key, error) from error

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        try:
            with open(self._file(key), "rb", buffering=0) as file:
                return _pread_all(file.fileno(), offset, size)
        except _ABSENT:
            raise ObjectNotFound(key, self.url) from None
        except OSError as error:
            raise self._failed("read", key, error) from error

    def head(self, key: str) -> ObjectInfo | None:
        try:
            found = os.stat(self._file(key))
        except _ABSENT:
            return None
        except OSError as error:
            raise self._failed("look at", key, error) from error
        return None if _is_folder(found) else _info(key, found)

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        folder = check_folder(folder)
        try:
            found = list(_walk(self._base + folder if folder else self.url, folder + "/" if folder else ""))
        except OSError as error:
            raise self._failed("list", folder, error) from error
        found.sort(key=lambda info: info.key)
        return iter(found)

    def folders(self, folder: str) -> tuple[str, ...]:
        folder = check_folder(folder)
        try:
            with os.scandir(self._base + folder) as entries:
                return tuple(sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir()))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise self._failed("list", folder, error) from error

    def local_path(self, key: str) -> Path | None:
        return Path(self._file(key))

    # -- writing

    def put(self, key: str, data: bytes) -> None:
        temporary = self._temporary(key, data)
        try:
            self._named(key, lambda target: os.replace(temporary, target))
        except OSError as error:
            raise self._failed("write", key, error) from error
        finally:
            _forget(temporary)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if os.path.exists(self._file(key)):
            return False
        temporary = self._temporary(key, data, mode=0o444)
        try:
            return self._link(temporary, key)
        finally:
            _forget(temporary)

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        check_key(key)
        own = self._own_file(key, path)
        try:
            return self._link(own, key)
        finally:
            _forget(own)
            _forget(str(path))

    def append_file(self, key: str) -> BinaryIO | None:
        target = self._file(key)

        for _ in range(10):
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                file = open(target, "xb", buffering=0)  # noqa: SIM115 - the caller closes it
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._failed("create", key, error) from error
            with contextlib.suppress(OSError):  # a file system without locks: `abandoned` says no
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()
        raise StoreError(f"{self.url}: could not create {key}: its folder keeps disappearing")

    def abandoned(self, key: str) -> bool:
        try:
            with open(self._file(key), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        except OSError:
            return False

    def delete(self, key: str) -> None:
        target = self._file(key)
        try:
            os.unlink(target)
        except _ABSENT:
            return
        except OSError as error:
            raise self._failed("delete", key, error) from error
        folder = os.path.dirname(target)
        with contextlib.suppress(OSError):  # ends at the first folder that holds something
            while folder.startswith(self._base):
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    # -- details

    def _file(self, key: str) -> str:
        return self._base + check_key(key)

    def _temporary(self, key: str, data: bytes, mode: int = 0o644) -> str:
        check_key(key)
        path = ""
        try:
            path = self._stray()
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            _forget(path)
            raise self._failed("write", key, error) from error
        return path

    def _own_file(self, key: str, path: Path) -> str:
        """A read-only, fsynced file that nobody else can name: `path` itself, or a copy when it is shared."""
        try:
            found = os.lstat(path)
            stray = self._stray()
            own = str(path)
            if not os.path.islink(path) and found.st_nlink == 1:
                try:
                    os.utime(path)  # an old file must not look like a stray one
                    os.rename(path, stray)
                    own = stray
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
            if own != stray:
                shutil.copyfile(path, stray)
            os.chmod(stray, 0o444)
            _sync(stray)
        except OSError as error:
            raise self._failed("take a file as", key, error) from error
        return stray

    def _link(self, temporary: str, key: str) -> bool:
        try:
            self._named(key, lambda target: os.link(temporary, target))
            _sync(os.path.dirname(self._file(key)))
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StoreError(
                    f"{self.url}: could not create {key}: this file system has no hard links ({error.strerror}), "
                    "which make commits safe; put the store on another one, or on S3"
                ) from error
            raise self._failed("create", key, error) from error
        return True

    def _named(self, key: str, name: Callable[[str], None]) -> None:
        """Give a finished file its name; its folder is made when needed, even if another process removes it."""
        target = self._file(key)
        for _ in range(10):
            try:
                return name(target)
            except FileNotFoundError:
                self._make_folder(os.path.dirname(target))
        raise StoreError(f"{self.url}: could not create {key}: its folder keeps disappearing")

    def _make_folder(self, folder: str) -> None:
        made = []
        while not os.path.isdir(folder):
            made.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(made):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.mkdir(path)
                _sync(os.path.dirname(path))

    def _stray(self) -> str:
        folder = self._base + ".tmp"
        if not self._swept:
            os.makedirs(folder, exist_ok=True)
            _sweep(folder)
            self._swept = True
        return f"{folder}/{os.getpid()}-{secrets.token_hex(8)}"

    def _failed(self, doing: str, key: str, error: OSError) -> StoreError:
        return StoreError(f"{self.url}: could not {doing} {key or 'the store'}: {error.strerror or error}")


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, found.st_size, f"{found.st_mtime_ns:x}-{found.st_ino:x}")


def _is_folder(found: os.stat_result) -> bool:
    return found.st_mode & 0o170000 == 0o040000


def _walk(folder: str, prefix: str) -> Iterator[ObjectInfo]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
            else:
                yield _info(prefix + entry.name, entry.stat())
        except FileNotFoundError:  # deleted since the folder was read
            continue


def _pread_all(fd: int, offset: int, size: int) -> bytes:
    data = os.pread(fd, size, offset)
    while len(data) < size:  # Linux reads at most 2 GiB at once
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _forget(path: str) -> None:
    """Remove a file that is only in the way; a disk that forbids it must not hide why it was in the way."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def _sweep(folder: str) -> None:
    """Remove what killed writers left. A live writer's file is younger than :data:`STRAY_AGE`."""
    oldest = time.time() - STRAY_AGE
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.path)
