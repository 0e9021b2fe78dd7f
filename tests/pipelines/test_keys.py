"""Keys: what enters, what never does, and vectors that may not change while stores of this format exist."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pydantic
import pytest

import pipelines.libraries
from pipelines.canonical import JsonObject
from pipelines.errors import UsageError
from pipelines.identity import source_fields
from pipelines.keys import (
    Unkeyable,
    family,
    identity_config,
    key_folder,
    lineage,
    partition_key,
    source_identity,
    stage_key,
    stage_payload,
)
from pipelines.libraries import library_versions
from pipelines.stage import Absent, Config, Execution, Listing, Partition, Read, Source, Stage
from tests.support.maximal import (
    INPUTS,
    LISTING,
    PARTITION,
    READS,
    Blur,
    Maximal,
    MaximalConfig,
    Mode,
    Noise,
    Optimizer,
    payload_of,
    vectors,
)

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests/pipelines/golden/keys.json").read_text())


def key_of(**changes: Any) -> str:
    return stage_key(payload_of(MaximalConfig(**changes)))


def identity(config: Config) -> JsonObject:
    """The identity of any config, through a stage that states nothing itself."""
    return identity_config(Maximal, config)


# ---------------------------------------------------------------- frozen vectors


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_vectors(name: str) -> None:
    assert vectors()[name] == GOLDEN[name]


def test_a_stored_payload_gives_its_key_again() -> None:
    assert stage_key(GOLDEN["payload"]) == GOLDEN["key"]


@pytest.mark.parametrize("seed", ["0", "4242"])
def test_another_process_with_another_hash_seed_and_folder_agrees(seed: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
    command = [sys.executable, "-X", "utf8", "-m", "tests.support.maximal"]
    output = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True).stdout
    assert json.loads(output) == GOLDEN


# ---------------------------------------------------------------- what changes a key

CHANGED: dict[str, Any] = {
    "scale": 2,
    "strength": 1.0000001,
    "tiny": 2e-300,
    "title": "Zurich",
    "mode": Mode.LR,
    "flag": False,
    "nothing": 0,
    "optimizer": Optimizer(betas=(0.9, 0.99)),
    "chain": [Noise(), Blur(sigma=0.5)],
    "table": {"a": Optimizer(), "b": Optimizer(learning_rate=1)},
    "milestones": (200, 100),
    "steps": 1001,
    "added_later": 1,
    "added_model": Optimizer(),
}
UNSEEN: dict[str, Any] = {
    "photos": "s3://elsewhere/photos",
    "extra": ["/more"],
    "log_every": 1,
    "prefetch": 9,
}


def test_every_field_of_the_maximal_config_is_tried() -> None:
    assert {*CHANGED, *UNSEEN} == set(MaximalConfig.model_fields)


@pytest.mark.parametrize("field", CHANGED)
def test_every_identity_field_changes_the_key(field: str) -> None:
    assert key_of(**{field: CHANGED[field]}) != GOLDEN["key"]


@pytest.mark.parametrize("field", UNSEEN)
def test_locations_and_execution_settings_never_do(field: str) -> None:
    sources = {"photos": source_identity(LISTING), "extra": {"signature": "1"}}
    keys = {
        stage_key(stage_payload(Maximal, config, INPUTS, sources, "9" * 64))
        for config in (MaximalConfig(), MaximalConfig(**{field: UNSEEN[field]}))
    }
    assert len(keys) == 1


def test_execution_settings_inside_nested_models_never_do() -> None:
    nested = {
        "optimizer": Optimizer(fused=True),
        "table": {"a": Optimizer(learning_rate=1.0, fused=True), "b": Optimizer()},
    }
    assert key_of(**nested) == GOLDEN["key"]


@pytest.mark.parametrize(
    "spelling",
    [
        {"optimizer": {"learning_rate": 0.00005}},
        {"strength": 1},
        {"table": {"a": {"learning_rate": 1.0}, "b": {}}},
        {"title": "Zu\u0308rich A\u030a 図"},
        {"mode": "hr"},
        {"milestones": [100, 200]},
        {"optimizer": {"eps": 1}},
    ],
    ids=str,
)
def test_another_spelling_of_the_same_config_has_the_same_key(spelling: dict[str, Any]) -> None:
    assert key_of(**spelling) == GOLDEN["key"]


def test_an_absent_field_enters_once_it_leaves_its_frozen_value() -> None:
    assert "added_later" not in GOLDEN["payload"]["config"]
    assert identity(MaximalConfig(added_later=2))["added_later"] == 2

    class Flag(Config):
        later: Annotated[bool | int, Absent(True)] = True

    assert identity(Flag()) == {}
    assert identity(Flag(later=1)) == {"later": 1}  # 1 is not true


def test_a_role_inside_a_container_or_optional_covers_the_field() -> None:
    class Odd(Config):
        cadence: Execution[int] | None = 3
        places: dict[str, Source] = {"a": "/x"}
        kept: int = 1

    assert identity(Odd()) == {"kept": 1}
    assert list(source_fields(Odd())) == ["places"]


def test_two_roles_on_one_field_are_refused() -> None:
    class Confused(Config):
        field: Execution[Source] = "x"

    with pytest.raises(TypeError, match=r"Confused\.field: expected at most one role"):
        identity(Confused())


def test_a_value_without_canonical_form_is_refused_with_its_path() -> None:
    class Inner(Config):
        folder: Path = Path("/x")

    class Outer(Config):
        parts: list[Inner] = [Inner()]

    with pytest.raises(Unkeyable, match=r"maximal: with\.parts\[0\]\.folder: \w+Path has no canonical form.*Source"):
        identity(Outer())


# ---------------------------------------------------------------- identity() of a stage


class PresetConfig(Config):
    preset: str = "soft"
    sigma: float = 1.0
    photos: Source = "/here"
    workers_hint: Execution[int] = 1
    optimizer: Optimizer = Optimizer()
    parts: list[Optimizer] = [Optimizer()]
    later: Annotated[int, Absent(0)] = 0


class Preset(Stage):
    name: ClassVar[str] = "preset"
    Config = PresetConfig

    @classmethod
    def identity(cls, config: PresetConfig) -> JsonObject:
        return {
            **config.model_dump(exclude={"preset"}),
            "noise": {"soft": 1.0}[config.preset],
            "typed": config.optimizer,
        }


def test_a_stated_identity_follows_the_same_rules_where_names_match() -> None:
    kept = {"learning_rate": 5e-5, "betas": [0.9, 0.999]}
    assert identity_config(Preset, PresetConfig()) == {
        "sigma": 1.0, "optimizer": kept, "parts": [kept], "noise": 1.0, "typed": kept,
    }  # fmt: skip


# ---------------------------------------------------------------- inputs, sources, code, libraries


def test_labels_never_enter_but_the_order_of_a_many_slot_does() -> None:
    swapped = {**INPUTS, "models": INPUTS["models"][::-1]}
    payload = stage_payload(Maximal, MaximalConfig(), swapped, {"photos": source_identity(LISTING)}, "9" * 64)
    assert stage_key(payload) != GOLDEN["key"]
    assert payload["inputs"]["models"] == ["b" * 64, "c" * 64]  # digests and nothing else


def test_an_empty_slot_is_an_unconnected_one() -> None:
    sources = {"photos": source_identity(LISTING)}
    connected = stage_payload(Maximal, MaximalConfig(), {"images": "a" * 64, "models": []}, sources, "9" * 64)
    assert connected == stage_payload(Maximal, MaximalConfig(), {"images": "a" * 64}, sources, "9" * 64)


@pytest.mark.parametrize("inputs", [{"pairs": "a" * 64}, {"images": "k1:" + "a" * 64}, {"models": ["./store/x"]}])
def test_only_digests_of_known_slots_are_accepted(inputs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"maximal"):
        stage_payload(Maximal, MaximalConfig(photos=""), inputs, {}, "9" * 64)


def test_a_source_that_is_not_listed_is_refused() -> None:
    with pytest.raises(Unkeyable, match=r"with\.photos is a location.*does not list it"):
        stage_payload(Maximal, MaximalConfig(), {}, {}, "9" * 64)


def test_a_moved_folder_is_the_same_source_and_a_touched_file_another() -> None:
    moved = Listing(tuple(type(f)(f.name, f.size, f.stamp, f"/moved/{f.name}") for f in reversed(LISTING.files)))
    touched = Listing(tuple(type(f)(f.name, f.size, "1700", f.location) for f in LISTING.files))
    assert source_identity(moved) == source_identity(LISTING)
    assert source_identity(touched)["signature"] != LISTING.signature


def test_code_is_in_the_key_of_data_stages_only() -> None:
    class Trainer(Maximal):
        code_policy = "advisory"

    sources = {"photos": source_identity(LISTING)}
    assert "code" not in stage_payload(Trainer, MaximalConfig(), {}, sources, "9" * 64)
    with pytest.raises(ValueError, match="needs a code fingerprint"):
        stage_payload(Maximal, MaximalConfig(), {}, sources, None)


def test_declared_libraries_enter_without_their_build(monkeypatch: pytest.MonkeyPatch) -> None:
    pipelines.libraries.library_version.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", {"torch": "2.13.0+cpu", "numpy": "2.4.6"}.__getitem__)
    assert library_versions(["torch", "numpy"]) == {"numpy": "2.4.6", "torch": "2.13.0"}
    pipelines.libraries.library_version.cache_clear()


def test_opencv_is_asked_itself_whatever_distribution_brought_it() -> None:
    import cv2.version

    names = ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
    assert set(library_versions(names).values()) == {cv2.version.opencv_version}


def test_a_missing_library_names_the_stage_and_the_distribution() -> None:
    class Needy(Maximal):
        libraries = ("no-such-distribution",)

    with pytest.raises(UsageError, match=r"maximal: distribution 'no-such-distribution' is not installed"):
        stage_payload(Needy, MaximalConfig(photos=""), {}, {}, "9" * 64)


# ---------------------------------------------------------------- what is derived from a payload


def test_the_lineage_survives_more_steps_and_nothing_else() -> None:
    def lineage_of(**changes: Any) -> str:
        config = MaximalConfig(**changes)
        return lineage(Maximal, config, payload_of(config))

    assert lineage_of(steps=9999) == GOLDEN["lineage"]
    assert lineage_of(scale=2) != GOLDEN["lineage"]


def test_the_family_survives_other_inputs_and_sources() -> None:
    payload = GOLDEN["payload"]
    assert family({**payload, "inputs": {}, "sources": {}}) == GOLDEN["family"]
    for section in ("version", "config", "code", "libraries"):
        assert family({**payload, section: "other"}) != GOLDEN["family"]


def test_a_partition_is_its_id_parameters_and_the_bytes_it_reads_wherever_they_lie() -> None:
    moved = tuple(Read(r.slot, r.name, r.sha256, "elsewhere.tar", r.offset + 512, r.size) for r in READS)
    same = Partition(PARTITION.id, dict(reversed(PARTITION.params.items())), moved, weight=9.0)
    others = [
        Partition("shard-00004", PARTITION.params, READS),
        Partition(PARTITION.id, {"bucket": 4, "of": 8}, READS),
        Partition(PARTITION.id, PARTITION.params, READS[:1]),
        Partition(PARTITION.id, PARTITION.params, (READS[0], Read("images", "c.png", "e" * 64, "", 0, 7))),
        Partition(PARTITION.id, PARTITION.params, (READS[0], Read("masks", "b.png", "e" * 64, "", 0, 7))),
    ]
    assert partition_key(GOLDEN["family"], same) == GOLDEN["partition"]
    assert len({partition_key(GOLDEN["family"], part) for part in [PARTITION, *others]}) == 6
    assert partition_key("0" * 64, PARTITION) != GOLDEN["partition"]


def test_a_key_is_a_folder_name() -> None:
    assert key_folder("k1:" + "a" * 64) == "k1-" + "a" * 64
    with pytest.raises(ValueError, match="expected a stage key"):
        key_folder("k1:../../etc")


def test_not_a_number_never_reaches_a_key() -> None:
    with pytest.raises(pydantic.ValidationError):
        MaximalConfig(strength=float("nan"))
