"""CoNaLa (Yin et al. 2018): its BLEU."""
