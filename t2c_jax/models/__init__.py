"""Pure Flax modules: encoders, decoders, and the sequence-to-sequence model that joins them."""
