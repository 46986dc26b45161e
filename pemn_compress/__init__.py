"""Tensors: masked weights, learners, models, data, training, saving and loading."""
