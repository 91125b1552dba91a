"""Post-hoc repair: two checkpoints → a third, without training."""
