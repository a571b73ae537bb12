"""Reranking: which of the candidates that a search finds is the answer, and how likely it is right.

``candidate_features`` describes the candidates, ``rerank_weights`` holds what ``t2c rerank`` fitted, and ``reranker``
applies it to answers. Fitting is in ``evaluate.rerank_fit``.
"""
