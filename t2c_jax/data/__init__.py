"""Pairs to batches: tokenizer, objectives, packing and the tf.data pipeline."""
