from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.store.backends.local import LocalObjects
from pipelines.store.objects import ObjectStore
from pipelines.store.store import Store, open_store
from tests.support.s3 import BUCKET, FaultProxy, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[FaultProxy]:
    with s3_server() as proxy:
        yield proxy


@pytest.fixture
def s3_objects(s3: FaultProxy) -> ObjectStore:
    from pipelines.store.backends.s3 import S3Objects

    return S3Objects(f"s3://{BUCKET}/{uuid.uuid4().hex}/deep", first_pause=0.01)


@pytest.fixture(params=["local", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "local":
        return LocalObjects(tmp_path / "store")
    return request.getfixturevalue("s3_objects")


@pytest.fixture
def any_store(objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store on each backend, with a cache of its own."""
    monkeypatch.setenv("SHARPLINE_CACHE", str(tmp_path / "cache"))
    return Store(objects, "test")


@pytest.fixture
def s3_store(s3_objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SHARPLINE_CACHE", str(tmp_path / "cache"))
    return Store(s3_objects, "test")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")
