"""Finding the settings of an objective for a model and its data: look, try, write a recipe."""
