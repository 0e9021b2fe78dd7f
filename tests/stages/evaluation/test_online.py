"""Evaluation on on-line pairs measures what evaluation on the stored ones does."""

from __future__ import annotations

import json

from stages.evaluation.evaluate import Evaluate
from tests.support.harness import run_stage
from tests.support.pairs import ingest, synthesise
from tests.support.photos import copy_photos


def test_numbers_and_pictures_are_those_of_the_stored_pairs(tmp_path):
    images = ingest(tmp_path / "images", copy_photos(tmp_path / "photos"), split={"val": 0.1, "test": 0})
    runs = []
    for online in (False, True):
        pairs = synthesise(tmp_path / f"pairs-{online}", images, online=online)
        runs.append(run_stage(Evaluate, tmp_path / f"scores-{online}", {}, {"pairs": pairs, "models": []}))
    stored, online = (run.artifacts["metrics"] for run in runs)
    assert json.loads(stored.read("metrics.json"))["protocol"]["images"] == 4
    assert stored.digest == online.digest
    assert runs[0].context.images == runs[1].context.images
