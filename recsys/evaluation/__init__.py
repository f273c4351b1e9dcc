"""Measure recall on honest splits, beside opponents at their best."""
