"""Tables of results: what they consist of, their cells from run directories, and the files that show them."""
