"""Degradation operators: one file each, with its ranges (preset), its draw (recipe) and its rendering on the CPU."""
