"""Every pair exactly once an epoch, whatever the ranks, loader threads, batch, count and place where reading starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.data.samples import SampleIndex
from stages.data.tensors import to_image
from stages.training.config import TrainConfig
from stages.training.loader import PairLoader
from stages.training.ranks import Solo
from tests.support.textures import texture_pairs

MOST = 13


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> SampleIndex:
    return SampleIndex.from_artifact(
        texture_pairs(tmp_path_factory.mktemp("p") / "pairs", train=MOST, val=1), split="train"
    )


def first(pairs: SampleIndex, count: int) -> SampleIndex:
    """The first `count` of `pairs`."""
    numbers = {name: values[:count] for name, values in pairs.numbers.items()}
    return replace(pairs, table=pairs.table.slice(0, count), numbers=numbers)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), count=st.integers(1, MOST), threads=st.integers(1, 4), seed=st.integers(0, 99))
def test_every_pair_is_read_once_an_epoch_by_exactly_one_rank(pairs, data, count, threads, seed):
    batch = data.draw(st.integers(1, count), label="batch")
    ranks = data.draw(st.integers(1, batch), label="ranks")
    start = data.draw(st.integers(0, 5), label="batches before") * batch
    some, epochs = first(pairs, count), 3
    config = TrainConfig(
        steps=1, seed=seed, training={"batch_size": batch}, loader_threads=threads, cache_megabytes=threads % 2
    )
    lr = {some.key(i): to_image(some.read_pair(i)[0]) for i in range(count)}
    seen: dict[int, list[str]] = {}
    for rank in range(ranks):
        with PairLoader(some, 4, config, Solo(rank, ranks)) as loader:
            for place in range(start, start + epochs * count, batch):
                read = loader.batch(place)
                for sample, key, image in zip(read.samples, read.keys, read.lr, strict=True):
                    seen.setdefault(sample, []).append(key)
                    assert torch.equal(image, lr[key]) or torch.equal(image.flip(-1), lr[key])
    assert all(len(keys) == 1 for keys in seen.values()), "a sample that two ranks read"
    assert sorted(seen) == list(range(start, start + len(seen))), "a gap"
    order = [seen[sample][0] for sample in sorted(seen)]
    for epoch in range(-(-start // count), (start + len(order)) // count):  # those that were read whole
        assert sorted(order[epoch * count - start : (epoch + 1) * count - start]) == sorted(lr)
