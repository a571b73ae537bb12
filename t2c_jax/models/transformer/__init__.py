"""Transformers: encoder and decoder with rotary positions, and T5's with a learned relative bias."""
