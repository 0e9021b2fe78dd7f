"""Shards by digest: an image that comes or goes changes one shard, and a budget splits one shard in two."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stage import Partition, StageError
from stages.synthesis.shards import Cut, index_name, plan_shards, shard_name, shard_of

ONE = Cut(hr_size=64, scale=4, crops=1)


def row(image: str, width: int = 64, height: int = 64) -> dict[str, object]:
    place = {"entry": "pack-00.tar", "offset": 0, "size": 1}
    return {"image": image, "name": f"{image[:8]}.png", "width": width, "height": height, "split": "train", **place}


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def plan(numbers: set[int], shards: int, budget: int | None, cut: Cut = ONE) -> dict[str, Partition]:
    rows = [row(digest(number)) for number in numbers]
    return {part.id: part for part in plan_shards(rows, cut, shards=shards, budget=budget).partitions}


IMAGES = st.sets(st.integers(0, 10_000), max_size=60)


@settings(max_examples=150)
@given(images=IMAGES, one=st.integers(0, 10_000), shards=st.integers(1, 4), budget=st.none() | st.integers(1, 9))
def test_one_image_changes_one_shard_except_where_it_crosses_the_budget(images, one, shards, budget):
    without, having = plan(images - {one}, shards, budget), plan(images | {one}, shards, budget)
    gone = {name for name, part in without.items() if having.get(name) != part}
    come = {name for name, part in having.items() if without.get(name) != part}
    assert len(gone) <= 1
    assert len(come) in (1, 2)
    split = len(come) == 2
    if split:  # one over the budget became two within it
        (name,) = gone
        assert without[name].weight == budget
        assert all(part.startswith(name.partition("-")[0]) for part in come)
    assert {read.sha256 for name in come for read in having[name].reads} == {
        read.sha256 for name in gone for read in without[name].reads
    } | {digest(one)}


@settings(max_examples=60)
@given(images=IMAGES, shards=st.integers(1, 4), budget=st.integers(3, 12))
def test_every_image_is_in_one_shard_and_none_is_over_its_budget(images, shards, budget):
    parts = plan(images, shards, budget, Cut(64, 4, 3))
    held = [read.sha256 for part in parts.values() for read in part.reads]
    assert sorted(held) == sorted(digest(number) for number in images)
    for name, part in parts.items():
        assert part.weight <= budget
        assert {shard_of(read.sha256, shards) for read in part.reads} == {int(name.partition("-")[0])}


def test_the_pairs_of_one_image_stay_together():
    parts = plan({1, 2}, 1, 1, Cut(64, 4, 5))
    assert [part.weight for part in parts.values()] == [5.0, 5.0]


def test_a_shard_has_its_number_in_its_name():
    assert [shard_name(shard) for shard in ("3", "17", "3-01")] == [
        "shard-00003.tar", "shard-00017.tar", "shard-00003-01.tar"
    ]  # fmt: skip
    assert index_name("3-01") == "index-00003-01.parquet"
    assert list(plan({5}, 4, None)) == [str(shard_of(digest(5), 4))]


def test_the_smallest_side_that_counts():
    rows = [row(digest(1), 64, 63), row(digest(2), 3, 90), row(digest(3), 400, 4)]
    assert len(plan_shards(rows, ONE, shards=1).too_small) == 3
    whole = plan_shards(rows, Cut(None, 4, 1), shards=1)
    assert whole.too_small == (f"{digest(2)[:8]}.png",)


def test_two_images_with_one_key_are_refused():
    twin = digest(1)[:16] + digest(2)[16:]
    with pytest.raises(StageError, match="would get the same sample keys"):
        plan_shards([row(digest(1)), {**row(twin), "name": "twin.png"}], ONE, shards=2)
