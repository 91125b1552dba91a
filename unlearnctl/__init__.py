"""unlearnctl: remove what a language model must not keep, and measure honestly what went and what stayed."""

__version__ = "0.1.0"
