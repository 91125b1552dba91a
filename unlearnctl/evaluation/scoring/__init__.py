"""How a model is asked: log-likelihoods, replies, answers kept by item."""
