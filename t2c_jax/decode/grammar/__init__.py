"""Grammar-constrained decoding, host side: which tokens may come next in an answer.

``Grammar.compile`` binds a grammar to a tokenizer, and ``Beams`` follows the hypotheses of a batch. The engine is
llguidance. This package imports neither jax nor flax.
"""
