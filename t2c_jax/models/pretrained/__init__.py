"""Published encoders with a tokenizer and embeddings of their own, BERT and its kin and GPT-2; and BART."""
