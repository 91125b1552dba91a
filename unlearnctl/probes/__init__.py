"""Linear probes of the residual stream, and the directions they find."""
