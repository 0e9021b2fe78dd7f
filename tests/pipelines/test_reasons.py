"""Reasons: every difference between two payloads, in the words and at the places of the spec."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifact import Entry, Manifest
from pipelines.canonical import JsonObject
from pipelines.keys import stage_key
from pipelines.reasons import Reason, describe_input_change, describe_listing_change, diff_payloads, nearest
from pipelines.stage import ListedFile, Listing
from pipelines.wording import show, show_change, some

OLD: JsonObject = {
    "stage": "train.rsd",
    "version": 1,
    "config": {"optimizer": {"lr": 5e-5, "betas": [0.9, 0.999]}, "preset": "real-esrgan", "gan": None, "steps": 100},
    "inputs": {"pairs": "a" * 64, "models": ["b" * 64, "c" * 64]},
    "sources": {"photos": {"files": 238, "bytes": 10, "signature": "e" * 64}},
    "code": "1" * 64,
    "libraries": {"numpy": "2.3.1"},
}
LINES = {
    "with.optimizer.lr": "specs/rsd.yaml:41",
    "with.optimizer": "specs/rsd.yaml:40",
    "inputs.pairs": "specs/rsd.yaml:9",
}


def changed(path: str, value: object) -> JsonObject:
    """A copy of OLD with the value at a dotted path replaced, or removed when the value is `...`."""
    copy: Any = json.loads(json.dumps(OLD))
    *outer, last = path.split(".")
    inner = copy
    for name in outer:
        inner = inner[name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return dict(copy)


def said(new: JsonObject, old: JsonObject = OLD) -> list[str]:
    return [str(reason) for reason in diff_payloads(old, new, LINES.get)]


SENTENCES: list[tuple[str, object, str]] = [
    ("config.optimizer.lr", 1e-4, "with.optimizer.lr: 5e-5 -> 0.0001 (specs/rsd.yaml:41)"),
    ("config.optimizer.betas", [0.9, 0.99], "with.optimizer.betas[1]: 0.999 -> 0.99 (specs/rsd.yaml:40)"),
    ("config.optimizer.betas", [0.5], "with.optimizer.betas: [0.9, 0.999] -> [0.5] (specs/rsd.yaml:40)"),
    ("config.gan", {"weight": 1}, 'with.gan: null -> {"weight": 1}'),
    ("config.steps", 100.0, "with.steps: 100 -> 100.0"),
    ("config.ema", 0.999, "with.ema: added, 0.999"),
    ("config.preset", ..., "with.preset: removed, was real-esrgan"),
    ("config.preset", "null", 'with.preset: real-esrgan -> "null"'),
    ("stage", "train.sinsr", "uses: train.rsd -> train.sinsr"),
    ("version", 2, "version of the stage: 1 -> 2"),
    ("inputs.pairs", "d" * 64, "pairs: other content (aaaaaaaa -> dddddddd) (specs/rsd.yaml:9)"),
    ("inputs.pairs", ..., "pairs: no longer connected (specs/rsd.yaml:9)"),
    ("inputs.teacher", "d" * 64, "teacher: newly connected"),
    ("inputs.models", ["c" * 64, "b" * 64], "models: the same artifacts in another order"),
    ("inputs.models", ["b" * 64, "d" * 64], "models[1]: other content (cccccccc -> dddddddd)"),
    ("inputs.models", ["b" * 64, "d" * 64, "e" * 64], "models: 2 added, 1 removed"),
    ("sources.photos", {"files": 240, "bytes": 12, "signature": "f" * 64}, "photos: 238 -> 240 files"),
    ("sources.photos.signature", "f" * 64, "photos: names, sizes or times of its 238 files changed"),
    ("code", "2" * 64, "code: changed"),
    ("libraries.numpy", "2.4.0", "library numpy: 2.3.1 -> 2.4.0"),
    ("libraries.scipy", "1.14", "library scipy: none -> 1.14"),
]


@pytest.mark.parametrize(("path", "value", "sentence"), SENTENCES, ids=[s[2] for s in SENTENCES])
def test_one_change_is_one_sentence(path: str, value: object, sentence: str) -> None:
    assert said(changed(path, value)) == [sentence]


def test_equal_payloads_need_no_reason_however_they_are_spelled() -> None:
    assert said(dict(reversed(OLD.items()))) == []
    assert said(changed("config.name", "Zu\u0308rich"), changed("config.name", "Zürich")) == []


def test_reasons_are_typed_and_survive_json() -> None:
    (reason,) = diff_payloads(OLD, changed("sources.photos.signature", "f" * 64), LINES.get)
    assert (reason.kind, reason.path) == ("source", "sources.photos.signature")
    assert (reason.before, reason.after) == ("e" * 64, "f" * 64)
    assert Reason.from_json(json.loads(json.dumps(reason.to_json()))) == reason
    assert Reason.from_json(Reason.rebuild("--rebuild was given").to_json()).kind == "rebuild"


texts = st.text("ab.é[", max_size=3).map(lambda text: unicodedata.normalize("NFC", text))
trees = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 1.0, 0.5]) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
payloads = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("stage", "config", "inputs", "sources", "code", "libraries", "unknown"), trees)
)


@given(payloads, payloads)
@settings(max_examples=300, deadline=None)
def test_there_is_a_reason_exactly_when_the_keys_differ(old: JsonObject, new: JsonObject) -> None:
    assert bool(said(new, old)) == (stage_key(old) != stage_key(new))


def test_the_nearest_earlier_payload_explains_best() -> None:
    far, near = changed("config", {"other": 1}), changed("config.optimizer.lr", 1.0)
    assert nearest(OLD, [far, near, changed("config.steps", 7)]) is near  # the first of equals
    assert nearest(OLD, []) is None


# ---------------------------------------------------------------- what lies behind a digest


def shards(count: int, *, edited: tuple[int, ...] = (), scale: int = 4, kind: Any = "samples") -> Manifest:
    entries = [Entry(f"shard-{i:05d}.tar", f"{i + 1000 * (i in edited):064x}", 9) for i in range(count)]
    index = Entry("index.parquet", f"{len(edited):064x}", 9, derived=True)
    return Manifest(kind, {"scale": scale}, (*entries, index), {"autoencoder": "a" * 64})


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (shards(240), shards(240, edited=(3, 17)), "2 of 240 shards changed (shard-00003.tar, shard-00017.tar)"),
        (shards(3), shards(4), "1 added (shard-00003.tar)"),
        (shards(9), shards(4), "5 removed (shard-00004.tar, shard-00005.tar, shard-00006.tar and 2 more)"),
        (shards(1, kind="model"), shards(1, kind="model", edited=(0,)), "1 of 1 file changed (shard-00000.tar)"),
        (shards(2), shards(2, scale=2), "facet scale: 4 -> 2"),
        (shards(2), Manifest("samples", {"scale": 4}, shards(2).entries), "refers to another autoencoder"),
        (shards(2), shards(2), ""),
        (None, shards(2), ""),
    ],
)
def test_a_changed_input_is_told_by_its_entries(old: Manifest | None, new: Manifest, sentence: str) -> None:
    assert describe_input_change(old, new) == sentence


def test_a_changed_source_is_told_by_its_files() -> None:
    def listing(**stamps: str) -> Listing:
        return Listing(tuple(ListedFile(f"{name}.png", 1, stamp, f"/{name}") for name, stamp in stamps.items()))

    change = describe_listing_change(listing(ant="1", bee="1", cat="1"), listing(ant="2", bee="1", dog="1"))
    assert change == "1 added (dog.png), 1 of 3 files changed (ant.png), 1 removed (cat.png)"


# ---------------------------------------------------------------- wording


def test_long_values_are_cut_and_their_difference_stays_visible() -> None:
    assert show("x" * 200) == "x" * 30 + "…" + "x" * 29
    before, after = ("/".join(["folder"] * 20) + f"/{word}/" + "tail" * 30 for word in ("left", "right"))
    assert "left" in show_change(before, after)
    assert "right" in show_change(before, after)


@pytest.mark.parametrize(
    ("value", "text"), [("off", '"off"'), ("", '""'), ("1", '"1"'), (True, "true"), (1e-05, "1e-5"), (1e22, "1e+22")]
)
def test_values_are_shown_as_a_spec_would_say_them(value: Any, text: str) -> None:
    assert show(value) == text


def test_lists_of_names_are_capped() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcde")) == "a, b, c and 2 more"
