"""A run's directory on disk: its name, its lock, and whether a process is at work in it."""
