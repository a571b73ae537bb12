"""CoNaLa (Yin et al. 2018): its BLEU."""

from t2c_jax.config.registry import lazy, metrics

metrics.register("conala_bleu")(lazy("t2c_jax.papers.conala.bleu:ConalaBleu4"))
