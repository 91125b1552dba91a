"""One thin file a verb: what `unlearnctl VERB` does, in order."""
