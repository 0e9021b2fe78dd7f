"""Stages that bring data into a store."""
