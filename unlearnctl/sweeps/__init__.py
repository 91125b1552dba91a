"""Run many configs as one sweep, and show how they are doing."""
