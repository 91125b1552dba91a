"""A table of the field: what it consists of, its cells from run directories, and four ways to print it."""
