"""Placeholder."""

TARGETS = []
