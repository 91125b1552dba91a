"""What concerns many runs at once."""
