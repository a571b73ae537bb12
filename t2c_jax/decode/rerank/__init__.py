"""Reranking: which of the candidates that a search finds is the answer, and how likely it is right.

``features`` describes the candidates, ``weights`` holds what ``t2c rerank`` fitted (``evaluate.rerank_fit``), and
``reranker`` applies it to answers.
"""
