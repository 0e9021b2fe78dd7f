"""Objects in an S3 bucket, through obstore. Credentials, region and endpoint come from the environment (``AWS_*``).

Creation is one PUT with ``If-None-Match: *``. obstore must not repeat it by itself: after a lost response the
repetition is refused because of the first, and the winner would believe that it lost. So we repeat it here, and
settle every doubt by reading back. All else is safe to repeat and is, by obstore and once more around it (a
body cut in the middle is not repeated by obstore).
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import obstore
from obstore import exceptions
from obstore.store import S3Store

from pipelines.errors import StoreError, WrongStore
from pipelines.store.objects import ObjectInfo, ObjectNotFound, check_folder, check_key

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")
log = logging.getLogger("sharpline.store")

TRIES = 6
FIRST_PAUSE = 0.2  # seconds; doubles up to LONGEST_PAUSE, with jitter
LONGEST_PAUSE = 10.0
WHOLE_BYTES = 64 << 20  # larger files are uploaded in parts
PART_BYTES = 16 << 20
FINAL = (
    exceptions.PermissionDeniedError,
    exceptions.UnauthenticatedError,
    exceptions.InvalidPathError,
    exceptions.NotSupportedError,
    exceptions.UnknownConfigurationKeyError,
)


class S3Objects:
    """Objects below ``s3://bucket/prefix``. `first_pause` scales every wait between tries (tests shorten it)."""

    def __init__(self, url: str, *, first_pause: float = FIRST_PAUSE) -> None:
        bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not bucket:
            raise WrongStore(f"store {url!r}: expected s3://bucket/prefix")
        prefix = check_folder(prefix)
        self.url = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._pause = first_pause
        self._pid = os.getpid()
        options = _client_options()
        backoff = {"init_backoff": timedelta(seconds=first_pause), "max_backoff": timedelta(seconds=LONGEST_PAUSE)}
        often: RetryConfig = {"max_retries": TRIES, "retry_timeout": timedelta(minutes=3), "backoff": backoff}  # type: ignore[typeddict-item]
        self._store = S3Store(bucket, prefix=prefix or None, client_options=options, retry_config=often)
        self._once = S3Store(bucket, prefix=prefix or None, client_options=options, retry_config={"max_retries": 0})

    # -- reading

    def get(self, key: str) -> bytes:
        check_key(key)
        return self._again("read", key, lambda: obstore.get(self._store, key).bytes().to_bytes())

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        check_key(key)

        def read() -> bytes:
            info = None if size and not offset else self.head(key)
            if info is not None and (size == 0 or offset >= info.size):
                return b""
            return obstore.get_range(self._store, key, start=offset, length=size).to_bytes()

        return self._again("read", key, read)

    def head(self, key: str) -> ObjectInfo | None:
        check_key(key)
        try:
            return self._again("look at", key, lambda: _info(key, obstore.head(self._store, key)))
        except ObjectNotFound:
            return None

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        folder = check_folder(folder)

        def read() -> list[ObjectInfo]:
            pages = obstore.list(self._store, folder or None, chunk_size=1000)
            return [_info(meta["path"], meta) for page in pages for meta in page]

        found = self._again("list", folder, read)
        return iter(sorted(found, key=lambda info: info.key))

    def folders(self, folder: str) -> tuple[str, ...]:
        folder = check_folder(folder)
        found = self._again("list", folder, lambda: obstore.list_with_delimiter(self._store, folder or None))
        return tuple(sorted(prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in found["common_prefixes"]))

    def local_path(self, key: str) -> Path | None:
        return None

    def append_file(self, key: str) -> BinaryIO | None:
        return None

    def abandoned(self, key: str) -> bool:
        return True

    # -- writing

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        self._again("write", key, lambda: obstore.put(self._store, key, data, use_multipart=False))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        check_key(key)
        doubt = False  # an earlier try of ours may have arrived
        for pause in self._pauses():
            try:
                obstore.put(self._once, key, data, mode="create", use_multipart=False)
                return True
            except exceptions.AlreadyExistsError:
                if not doubt:
                    return False
            except FileNotFoundError as error:
                raise self._no_bucket(key) from error
            except FINAL as error:
                raise self._failed("create", key, error) from error
            except exceptions.BaseError as error:
                last, doubt = error, True
                log.debug("create %s: %s", key, error)
            found = self._find(key)
            if found is not None:
                return found == data
            time.sleep(pause)
        raise self._failed("create", key, last)

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        size = path.stat().st_size
        if size <= WHOLE_BYTES:
            created = self.put_if_absent(key, path.read_bytes())
        else:
            created = self.head(key) is None
            if created:
                self._upload(key, path, size)
        path.unlink()
        return created

    def delete(self, key: str) -> None:
        check_key(key)
        try:
            self._again("delete", key, lambda: obstore.delete(self._store, key))
        except ObjectNotFound:
            return

    # -- details

    def _upload(self, key: str, path: Path, size: int) -> None:
        def upload() -> None:
            obstore.put(self._store, key, path, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=4)

        self._again("write", key, upload)
        info = self.head(key)
        if info is None or info.size != size:
            raise StoreError(f"{self.url}: {key} has {info and info.size} bytes after an upload of {size}; run again")

    def _find(self, key: str) -> bytes | None:
        try:
            return self.get(key)
        except ObjectNotFound:
            return None

    def _again(self, doing: str, key: str, action: Callable[[], T]) -> T:
        """Do `action`, which is safe to repeat, until it succeeds or the error is not a passing one."""
        last: Exception
        for pause in self._pauses():
            try:
                return action()
            except FileNotFoundError:
                if doing == "write":
                    raise self._no_bucket(key) from None
                raise ObjectNotFound(key, self.url) from None
            except FINAL as error:
                raise self._failed(doing, key, error) from error
            except exceptions.BaseError as error:
                last = error
                log.debug("%s %s: %s", doing, key, error)
            time.sleep(pause)
        raise self._failed(doing, key, last) from last

    def _pauses(self) -> Iterator[float]:
        if os.getpid() != self._pid:
            raise StoreError(
                f"{self.url} was opened by the parent of this forked process, and its threads do not survive a fork; "
                "start workers with the spawn method, or open the store in each of them"
            )
        for n in range(TRIES):
            yield min(LONGEST_PAUSE, self._pause * 2**n) * random.uniform(0.5, 1.0)

    def _no_bucket(self, key: str) -> StoreError:
        return StoreError(f"{self.url}: could not write {key}: the bucket does not exist; create it, or check `store:`")

    def _failed(self, doing: str, key: str, error: Exception) -> StoreError:
        text = " ".join(str(error).split("\n\n")[0].split())[:300]
        return StoreError(
            f"{self.url}: could not {doing} {key or 'the store'}: {text}; check the network, AWS_ENDPOINT_URL and the "
            "credentials in the environment, then run again"
        )


def _client_options() -> ClientConfig:
    options: ClientConfig = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60)}
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    if endpoint.startswith("http://"):
        options["allow_http"] = True  # asked for in so many words
    return options


def _info(key: str, meta: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(key, meta["size"], meta["e_tag"] or meta["last_modified"].isoformat())
