"""From YAML to objects: what a config may hold, checked before anything loads."""
