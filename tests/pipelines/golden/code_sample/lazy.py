"""Reached from inside a function; finds more modules by name."""

import importlib

FAMILIES = {"plain": "code_sample.families.plain:Plain"}
NOT_A_MODULE = "code_sample.nothing"


def work(size, value):
    module, _, name = FAMILIES["plain"].partition(":")
    getattr(importlib.import_module(module), name)
    return importlib.import_module(f"code_sample.plugins.{size}"), value
