"""On-line pairs: the pairs of a recipe, made when they are read instead of being stored.

The artifact (``degrade.pairs`` with ``online: true``) holds the recipe, the photographs' packs, and an index of the
pairs that would have been stored. In epoch 0 a pair is exactly that one; in epoch e it is the one of crop number
``crop + e * crops`` of its photograph: fresh for ever, and still a function of photograph, seed and number alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from degrade.engine import render
from degrade.errors import DegradeError
from degrade.preset import Preset
from degrade.recipe import Recipe, sample_recipe
from pipelines.stage import Artifact, StageError
from stages.data.index import LrReader, PairIndex, PairReader, Pixels, int64, read_rows
from stages.data.kept import Kept
from stages.data.pixels import Undecodable, decode_rgb
from stages.data.ranges import RangeReader
from stages.data.rules import PROBE, Rules, pair_digest

_TEXT = ("key", "split", "image", "pack")
_NUMBERS = ("crop", "crops", "offset", "size", "height", "width")


@dataclass(frozen=True)
class OnlinePairs(PairIndex):
    """The pairs of one on-line artifact, by position.

    `numbers` are int64 arrays of length ``len(pairs)``; `probe` maps keys of a few pairs, of any epoch, to what they
    look like (:func:`pair_digest`); each is checked where it is met, the first of a split always.
    """

    numbers: Mapping[str, NDArray[np.int64]]
    rules: Rules
    preset: Preset
    probe: Mapping[str, str]
    files: RangeReader
    photographs: Kept[Pixels] = field(default_factory=lambda: Kept(0), repr=False, compare=False)

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, split: str | Sequence[str] | None = None) -> OnlinePairs:
        """Load the index of `artifact`, only the rows of `split` (one, several, or all when None).

        Raises StageError when no pair is left, or when this machine makes other pixels than the one that made the
        artifact.
        """
        table = read_rows(artifact, [*_TEXT, *_NUMBERS], split)
        numbers = {name: int64(table, name) for name in _NUMBERS}
        probe = json.loads(artifact.read(PROBE))["pairs"]
        rules = Rules.of(artifact)
        preset = Preset.model_validate(rules.preset)
        pairs = cls(artifact, table, numbers, rules, preset, probe, RangeReader(artifact))
        pairs.read_pair(0)
        return pairs

    def key(self, i: int, epoch: int = 0) -> str:
        """What pair `i` of `epoch` would be called in a shard: the head of its photograph's sha256, its crop number."""
        key = str(self.table["key"][int(i)])
        return key if epoch == 0 else f"{key.rpartition('_')[0]}_{self.crop(i, epoch):04d}"

    def crop(self, i: int, epoch: int = 0) -> int:
        """The crop number of pair `i` in `epoch`."""
        return int(self.numbers["crop"][i] + epoch * self.numbers["crops"][i])

    def recipe(self, i: int, epoch: int = 0) -> Recipe:
        """Every random choice of pair `i` in `epoch`. Raises StageError when the preset gives none."""
        rules = self.rules
        try:
            return sample_recipe(
                self.preset,
                seed=rules.seed,
                image=str(self.table["image"][int(i)]),
                crop=self.crop(i, epoch),
                image_size=(int(self.numbers["height"][i]), int(self.numbers["width"][i])),
                hr_size=rules.hr_size,
                scale=rules.scale,
            )
        except DegradeError as error:
            raise StageError(f"{self.artifact.label}: {self.key(i, epoch)}: {error}") from error

    def read_pair(self, i: int, epoch: int = 0) -> tuple[Pixels, Pixels]:
        """Pair `i` of `epoch` as (lr, hr): uint8 RGB, (h, w, 3) and (scale h, scale w, 3).

        OpenCV's thread setting is global to the process: who reads from several threads sets it to one first
        (`stages.data.pixels.single_threaded`), as the loader does.
        """
        photograph = self.photographs.get(str(self.table["image"][int(i)]), lambda: self._decode(i))
        try:
            hr, lr = render(photograph, self.recipe(i, epoch))
        except DegradeError as error:
            raise StageError(f"{self.artifact.label}: {self.key(i, epoch)}: {error}") from error
        self._check(self.key(i, epoch), lr, hr)
        return lr, hr

    def reader(self, budget: int) -> PairReader:
        """:meth:`read_pair` that keeps decoded photographs in memory, up to `budget` bytes (and the last one read)."""
        return replace(self, photographs=Kept(budget)).read_pair

    def lr_reader(self, budget: int) -> LrReader:
        """LR images alone; they are made of HR ones, which is not cheaper."""
        read = self.reader(budget)
        return lambda i, epoch: read(i, epoch)[0]

    def hr_sizes(self) -> NDArray[np.int64]:
        """(height, width) of every HR image, [n, 2], before :attr:`may_turn`."""
        side, scale = self.rules.hr_size, self.rules.scale
        if side is not None:
            return np.broadcast_to(np.array([side, side], np.int64), (len(self), 2))
        return np.stack([self.numbers["height"], self.numbers["width"]], axis=1) // scale * scale

    @property
    def may_turn(self) -> bool:
        """Whether height and width of a pair may change places from epoch to epoch."""
        return self.rules.hr_size is None and self.preset.augment.transpose > 0

    def _decode(self, i: int) -> tuple[Pixels, int]:
        """The photograph behind pair `i` and its size in bytes, its file checked against its digest."""
        image, pack = str(self.table["image"][int(i)]), str(self.table["pack"][int(i)])
        offset, size = int(self.numbers["offset"][i]), int(self.numbers["size"][i])
        data = self.files.read(pack, offset, size, f"photograph {image[:16]}")
        if hashlib.sha256(data).hexdigest() != image:
            raise StageError(
                f"{self.artifact.label}: the {size} bytes at {offset} of {pack} are not the photograph {image[:16]} "
                "that the index names; the pack is damaged: `sharpline verify` names what else is"
            )
        try:
            pixels = decode_rgb(data)
        except Undecodable as error:
            raise StageError(f"{self.artifact.label}: photograph {image[:16]} ({pack}) {error}") from error
        return pixels, pixels.nbytes

    def _check(self, key: str, lr: Pixels, hr: Pixels) -> None:
        """Raise StageError where the artifact says what this pair looks like, and it looks otherwise."""
        expected = self.probe.get(key)
        if expected is not None and pair_digest(lr, hr) != expected:
            raise StageError(
                f"{self.artifact.label}: {key} comes out other here than where the pairs were planned; "
                "this machine has other versions of OpenCV or NumPy, or another CPU family. Install what is there "
                "(constraints.txt), or store the pairs: online: false"
            )
