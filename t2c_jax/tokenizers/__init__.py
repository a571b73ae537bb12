"""Tokenizers: SentencePiece, Hugging Face's, their training, conversion and lossless proof."""
