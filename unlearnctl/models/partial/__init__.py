"""Running part of a model: the blocks an objective reads, the frozen prefix once."""
