"""Several processes: started, watched, and talking to each other."""
