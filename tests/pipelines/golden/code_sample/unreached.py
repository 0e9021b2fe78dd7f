"""Imported for type checking only."""

raise RuntimeError("nobody imports this")
