"""Training: a recipe, a loop, and a run folder that survives a kill."""
