"""code2seq (Alon et al. 2019): syntax-tree paths as the encoder's input, and F1 over sub-tokens."""
