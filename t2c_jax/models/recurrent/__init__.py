"""LSTM and GRU encoders and decoders."""
