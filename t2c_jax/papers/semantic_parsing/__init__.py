"""Semantic parsing to logical forms (Dong & Lapata 2016): match up to the order of conjuncts."""
