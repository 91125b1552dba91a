"""A run's directory on disk: its name, its lock, whether somebody is at work in it."""
