"""Measure how fast each step is, beside the least that the machine needs for it."""
