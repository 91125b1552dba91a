"""Learn the trade-off of any objective (arXiv 2605.26454; our reading, only the abstract is known).

The abstract says "meta-learned"; a summary says that reinforcement learning guides adaptively learned trade-offs,
and it cites REINFORCE and hypervolume. What is acted on (the objective's own weights, on a log scale, and its layers),
the reward (hypervolume of forgotten and retained share on validation items), and the modes are ours.
"""
