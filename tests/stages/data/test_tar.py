"""Tars whose bytes are a function of their contents, and whose index is known the moment they are written."""

import hashlib
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.data.tar import TarWriter, _header, _header_by_tarfile

NAMES = st.text(st.sampled_from("abcdefgh_.-0123456789/é語"), min_size=1, max_size=180).filter(
    lambda name: all(part.strip(".") for part in name.split("/"))
)
FILES = st.dictionaries(NAMES, st.binary(max_size=1500), max_size=5)


@given(groups=st.lists(FILES, max_size=3))
def test_offsets_sizes_and_digests_are_those_that_a_reader_finds(tmp_path_factory, groups):
    path: Path = tmp_path_factory.mktemp("tar") / "x.tar"
    names = [set(group) for group in groups]
    if sum(map(len, names)) != len(set().union(*names)):
        return
    with TarWriter(path) as tar:
        written = [tar.add(group.items()) for group in groups]
    data = path.read_bytes()
    assert tar.size == len(data)
    with tarfile.open(path) as reader:
        found = {member.name: (member.offset_data, reader.extractfile(member).read()) for member in reader}
    assert {name: payload for group in groups for name, payload in group.items()} == {
        n: p for n, (_, p) in found.items()
    }
    for group in written:
        body = data[group.offset : group.offset + group.size]
        assert hashlib.sha256(body).hexdigest() == group.sha256
        for member in group.members:
            payload = data[member.offset : member.offset + member.size]
            assert (member.offset, payload) == found[member.name]


def test_bytes_are_frozen(tmp_path):
    """Shards are forever: a change of one header byte would rewrite every shard that there is."""
    with TarWriter(tmp_path / "x.tar") as tar:
        tar.add([("b.png", b"pixels"), ("a.json", b"{}")])
        tar.add([("long/" * 30 + "name", b"1"), ("ü.txt", b"2")])
    frozen = "d62939ee5dae4f855f45766a6aac08f152c4c105b4b877ad578dd2bc7835e0dd"
    assert hashlib.sha256((tmp_path / "x.tar").read_bytes()).hexdigest() == frozen
    with tarfile.open(tmp_path / "x.tar") as reader:
        for member in reader:
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)


@given(name=NAMES, size=st.integers(0, 2**34))
def test_headers_are_those_of_the_standard_library(name, size):
    assert _header(name, size) == _header_by_tarfile(name, size)


def test_small_members_need_one_header_block(tmp_path):
    with TarWriter(tmp_path / "x.tar") as tar:
        group = tar.add([(f"{'f' * 64}.json", b"{}")])
    assert group.size == 1024


def test_nothing_is_left_of_a_tar_that_failed(tmp_path):
    def fail(tar: TarWriter) -> None:
        with tar:
            tar.add([("a", b"")])
            assert not (tmp_path / "x.tar").exists()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail(TarWriter(tmp_path / "x.tar"))
    assert list(tmp_path.iterdir()) == []


def test_a_name_comes_once(tmp_path):
    with TarWriter(tmp_path / "x.tar") as tar:
        tar.add([("a", b"")])
        with pytest.raises(ValueError, match="already has a member 'a'"):
            tar.add([("a", b"")])
