"""Indexes over training pairs, asked for the pairs nearest to a text; neither jax nor TensorFlow is needed."""
