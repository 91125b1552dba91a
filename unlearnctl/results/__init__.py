"""Metrics with their intervals, results.json, and finished runs read back from disk."""
