"""Keys: the identity of a piece of work, as sha256 over a canonical JSON payload that is kept beside it.

A stage's payload holds ``stage``, ``version``, ``config``, ``inputs``, ``sources``, ``libraries`` and, for stages
whose `code_policy` is "key", ``code``. Nothing else: no machine, path, resource, worker count, cell or name
that a spec gave to a stage. With one exception: ``ranks``, of a gang of more than one rank whose outputs are
declared reproducible, because ranks order sums as threads do. From it derive

* the **key** of the stage (``k1:<64 hex>``; the number is the format of the payload);
* its **family** (the payload without inputs and sources): where rows of finished partitions live;
* its **lineage** (the payload without `Extendable` fields): where trainer state lives;
* the key of one **partition**, from the family and exactly the bytes that the partition reads.

A `many` slot enters as the list of digests in the order of the spec, without labels. The labels are names of
cells, and renaming a cell must rebuild nothing; the order is kept because a stage is free to depend on it
(a sum, a concatenation), and a key that hid it would serve one order's bytes for another's. The price is a
rule for stages: an artifact names its inputs by digest, never by label, and reports join the labels from the run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

from pipelines.canonical import Json, JsonObject, NotCanonical, digest
from pipelines.errors import UsageError
from pipelines.identity import NEVER_IDENTITY, dump, prune, source_fields
from pipelines.libraries import MissingLibrary, library_versions
from pipelines.stage import Config, Listing, Partition, Stage

KEY_FORMAT: Final = "k1"
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_KEY: Final = re.compile(r"k[0-9]+:[0-9a-f]{64}")

InputDigests: TypeAlias = Mapping[str, "str | Sequence[str]"]
"""Digest of the connected artifact by slot; a sequence of digests for `many` slots."""


class Unkeyable(UsageError):
    """A stage cannot be given a key: a value without canonical form, a missing library, an unlisted source."""


def identity_config(stage: type[Stage], config: Config) -> JsonObject:
    """The identity part of `config`: :meth:`Stage.identity` or a dump of its identity fields. Raises Unkeyable."""
    return _identity(stage, config, NEVER_IDENTITY)


def _identity(stage: type[Stage], config: Config, drop: frozenset[str]) -> JsonObject:
    stated = stage.identity(config)
    try:
        return dump(config, drop) if stated is None else prune(stated, config, drop)
    except NotCanonical as error:
        raise Unkeyable(
            f"{stage.name}: {error} (and type a location as Source, a setting of speed as Execution)"
        ) from error


def source_identity(listing: Listing) -> JsonObject:
    """A listed source as it enters a payload. Count and bytes follow from the signature; they serve explanations."""
    return {
        "files": len(listing.files),
        "bytes": sum(file.size for file in listing.files),
        "signature": listing.signature,
    }


def stage_payload(
    stage: type[Stage],
    config: Config,
    inputs: InputDigests,
    sources: Mapping[str, JsonObject],
    code: str | None,
    ranks: int = 1,
) -> JsonObject:
    """Everything that decides what the stage would produce, as canonical JSON.

    `sources` maps each `Source` field to :func:`source_identity` of its listing. `code` is the code
    fingerprint; it is required, and used, only by stages whose `code_policy` is "key". `ranks` is more than 1
    only where it changes bytes that are promised to be the same. Raises :class:`Unkeyable` naming the field, source
    or library at fault.
    """
    _check_sources(stage, config, sources)
    payload: JsonObject = {
        "stage": stage.name,
        "version": stage.version,
        "config": _identity(stage, config, NEVER_IDENTITY),
        "inputs": {slot: _input_digests(stage, slot, value) for slot, value in sorted(inputs.items()) if value},
        "sources": {field: sources[field] for field in sorted(sources)},
    }
    if stage.code_policy == "key":
        if code is None:
            raise ValueError(f"{stage.name}: its code_policy is 'key', so its payload needs a code fingerprint")
        payload["code"] = code
    if ranks > 1:
        payload["ranks"] = ranks
    try:
        payload["libraries"] = cast(JsonObject, library_versions(stage.libraries))
    except MissingLibrary as error:
        raise Unkeyable(f"{stage.name}: {error}") from error
    return payload


def _check_sources(stage: type[Stage], config: Config, sources: Mapping[str, JsonObject]) -> None:
    for path in source_fields(config):
        if path not in sources and re.split(r"[.\[]", path)[0] not in sources:
            raise Unkeyable(
                f"{stage.name}: with.{path} is a location outside the store, but list_sources() does not list it; "
                "without a listing a change of its files would go unseen"
            )


def _input_digests(stage: type[Stage], slot: str, value: str | Sequence[str]) -> Json:
    if slot not in stage.inputs:
        raise ValueError(f"{stage.name} has no input slot {slot!r}; it has: {', '.join(sorted(stage.inputs))}")
    digests = [value] if isinstance(value, str) else list(value)
    for text in digests:
        if not _HEX.fullmatch(text):
            raise ValueError(
                f"{stage.name}: inputs.{slot}: expected an artifact digest (64 hex characters), got {text!r}"
            )
    return value if isinstance(value, str) else cast("list[Json]", digests)


def stage_key(payload: JsonObject) -> str:
    """``k1:`` and the sha256 of the payload's canonical JSON."""
    return f"{KEY_FORMAT}:{digest(payload)}"


def family(payload: JsonObject) -> str:
    """64 hex characters that all builds of this stage share whatever their inputs and sources hold."""
    return digest({"family": 1, "of": {name: payload[name] for name in payload if name not in ("inputs", "sources")}})


def lineage(stage: type[Stage], config: Config, payload: JsonObject) -> str:
    """64 hex characters that a training shares with its own continuation: the payload without `Extendable` fields."""
    fixed = _identity(stage, config, NEVER_IDENTITY | {"extendable"})
    return digest({"lineage": 1, "of": {**payload, "config": fixed}})


def partition_key(family: str, partition: Partition) -> str:
    """64 hex characters over the stage's :func:`family`, the partition's id and params, and the bytes it reads.

    A read is (slot, name, sha256 of the bytes): where they lie is not identity, so repacking an input
    re-runs nothing. The order of the reads is the partition's own and part of the key.
    """
    reads: Json = [f"{read.slot} {read.sha256} {read.name}" for read in partition.reads]
    return digest({"partition": 1, "family": family, "id": partition.id, "params": partition.params, "reads": reads})


def key_folder(key: str) -> str:
    """A stage key as a folder name: ``k1:ab…`` is ``k1-ab…`` (a colon is not portable)."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"expected a stage key like k1:<64 hex characters>, got {key!r}")
    return key.replace(":", "-")
