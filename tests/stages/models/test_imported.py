"""Published state dicts of full size fit their networks, name by name and shape by shape; nothing is allocated."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch

from pipelines.stage import StageError
from stages.models.constructors import AUTOENCODERS, CONSTRUCTORS, constructor_of, stated_facets
from stages.models.flops import parameters
from stages.models.imported import fit, network, space_of
from stages.models.keymaps.published import PREFIXES
from stages.models.keymaps.taesd import named_half
from stages.models.registry import FAMILIES
from stages.models.tiny import TinyAutoencoder
from tests.support.published import Shapes, compvis, filled, resshift, taesd

VQ_CARD = {"family": "vq", "constructor": {}}
X4 = {"width": 160, "multipliers": (1, 2, 2, 4), "blocks": 2, "swin": 192, "heads": 6, "window": 8, "size": 64}
OFFICIAL = {
    "vq": ("vq", {}, [compvis(3, 128, (1, 2, 4), 2, 8192)], 55_322_782),
    "kl": ("kl", {}, [compvis(4, 128, (1, 2, 4, 4), 2, None)], 83_653_863),
    "taesd": ("tiny", {}, [taesd("encoder", 64, 3, 3), taesd("decoder", 64, 3, 3)], 2_445_063),
    "resshift x4, 15 steps": ("resshift", {}, [resshift(**X4)], 118_593_583),
    "resshift x4, 4 steps": (
        "resshift", {"process": {"timesteps": 4, "min_noise": 0.2}}, [resshift(**X4)], 118_593_583
    ),
    "resshift x2": ("resshift", {"scale": 2}, [resshift(**X4, halvings=1)], 118_640_431),
}  # fmt: skip


def on_meta(shapes: Shapes) -> dict[str, torch.Tensor]:
    return {f"module.{name}": torch.empty(shape, device="meta", dtype=torch.half) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", OFFICIAL)
def test_published_weights_of_full_size_fill_every_place(name):
    family, given, files, count = OFFICIAL[name]
    constructor = constructor_of(family, given)
    module = network(family, constructor, VQ_CARD if family == "resshift" else None)
    states = {f"{i}.pth": on_meta(shapes) for i, shapes in enumerate(files)}
    state = fit(states, family, module)
    assert state.keys() == module.state_dict().keys()
    assert parameters(module) == sum(value.numel() for value in state.values()) == count
    assert {value.dtype for value in state.values()} == {torch.float32}
    if family == "resshift":
        assert constructor.network.legacy_shift_mask  # the mask that they were trained with
    else:
        assert stated_facets(constructor) == {"channels": module.channels, "factor": module.factor}


@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_what_a_plan_knows_of_a_network_is_what_its_class_takes(family):
    module, _, name = FAMILIES[family].partition(":")
    taken = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    known = CONSTRUCTORS[family]().model_dump()
    if family in AUTOENCODERS:
        assert known == {argument.name: argument.default for argument in taken.values()}
    else:
        needed = {argument.name for argument in taken.values() if argument.default is inspect.Parameter.empty}
        assert needed <= known.keys() <= taken.keys()


def test_constructors_that_cannot_be_are_refused_by_field():
    for family, given, said in (
        ("vq", {"width": 100}, "constructor of family vq: Value error, width: expected a multiple of groups=32"),
        ("kl", {"blocks": [1, 2]}, "blocks: expected one number, or 4 for the levels"),
        ("tiny", {"halvings": 0, "with": 4}, "halvings: Input should be greater than 0; with: Extra inputs are not"),
        ("resshift", {"network": {"kind": "swin", "size": 60}}, "size: expected a multiple of 64"),
        ("resshift", {"process": {"min_noise": 3}}, r"sqrt\(eta\) must rise from 1.5"),
        ("resshift", {"autoencoder": "vq"}, "autoencoder: Input should be 'identity', 'space-to-depth' or 'artifact'"),
    ):
        with pytest.raises(ValueError, match=said):
            constructor_of(family, given)
    assert constructor_of("vq-f4", {"anything": 1}) is None


def test_halves_of_taesd_are_told_apart_and_one_alone_is_not_enough():
    constructor = constructor_of("tiny", {"width": 4, "blocks": 1, "halvings": 1})
    encoder, decoder = (filled(taesd(side, 4, 1, 1)) for side in ("encoder", "decoder"))
    assert named_half(encoder).keys() == {f"encoder.{name}" for name in encoder}
    assert named_half(decoder).keys() == {f"decoder.{name}" for name in decoder}
    state = fit({"a.pth": decoder, "b.pth": encoder}, "tiny", network("tiny", constructor, None))
    assert torch.equal(state["encoder.1.second.weight"], encoder["1.conv.2.weight"])
    assert torch.equal(state["decoder.1.bias"], decoder["1.bias"])
    with pytest.raises(StageError, match=r"b\.pth: the weights are not .*missing for the network: decoder\.1\.weight"):
        fit({"b.pth": encoder}, "tiny", network("tiny", constructor, None))


def test_our_own_names_fit_and_what_is_neither_is_refused_with_the_layouts_that_are_known():
    trained = TinyAutoencoder(width=4, blocks=1, halvings=1)
    constructor = constructor_of("tiny", trained.constructor)
    state = fit({"m.pth": trained.state_dict()}, "tiny", network("tiny", constructor, None))
    assert space_of(network("tiny", constructor, None), state) == trained.space
    with pytest.raises(StageError, match=r"known for vq .Sharpline's own, CompVis.*unknown here: w; missing"):
        fit({"m.pth": {"w": torch.ones(1)}}, "vq", network("vq", constructor_of("vq", {}), None))


def test_prefixes_are_of_families_that_are_known():
    assert PREFIXES.keys() <= set(AUTOENCODERS)
