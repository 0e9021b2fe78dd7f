"""Stages that make training data out of photographs."""
