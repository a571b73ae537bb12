"""Scores of generated code beside a retrieval baseline, and the report."""
