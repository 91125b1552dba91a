"""Running part of a model: the blocks that an objective reads, and the frozen prefix once."""
