"""Repair after unlearning: two checkpoints → a third, without training."""
