"""Keys of a config that a search treats in a way of their own."""

RATE, ABSOLUTE = "trainer.relative_lr", "trainer.optimizer.lr"  # a run takes one of them
COSTS = ("trainer.steps", "trainer.train_from")  # decide how long a trial takes
