"""The one page about many runs."""
