"""Sources to cleaned (text, code) pairs. Knows nothing of JAX; TensorFlow only in its one writer."""
