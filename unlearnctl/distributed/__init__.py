"""Several processes: starting them, watching them, and the collectives by which they talk to each other."""
