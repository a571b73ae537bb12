"""A pre-trained encoder (BERT, RoBERTa, CodeBERT, ModernBERT, Ettin or GPT-2) with a new Transformer decoder.

The encoder has its own tokenizer and embedding for the sources. A tokenizer for the targets is trained on the corpus,
and the decoder is initialised at random. Combining published encoders with a decoder is Rothe et al. 2020 ("Leveraging
Pre-trained Checkpoints for Sequence Generation Tasks"). The encoders are BERT (Devlin et al. 2019), RoBERTa (Liu et al.
2019), CodeBERT (Feng et al. 2020), ModernBERT (Warner et al. 2024), Ettin (Weller et al. 2025), whose encoders of 17M
and 32M parameters train on a laptop, and GPT-2 (Radford et al. 2019). A learned mix of all layers suits a frozen
encoder; it is that of ELMo (Peters et al. 2018, section 3.2).

t2c import --from DIRECTORY_OF_BERT --workdir runs/bert
t2c run --config configs/pretrained_encoder.py --config.origin.run=runs/bert --workdir runs/on_bert
t2c import --from DIRECTORY_OF_ETTIN --workdir runs/modernbert
t2c run --config configs/pretrained_encoder.py:modernbert --config.origin.run=runs/modernbert --workdir runs/on_ettin
t2c import --from DIRECTORY_OF_GPT2 --workdir runs/gpt2
t2c run --config configs/pretrained_encoder.py:gpt2 --config.origin.run=runs/gpt2 --workdir runs/on_gpt2

The learning rate of the encoder is a tenth of the decoder's. To freeze the encoder and mix its layers:
--config.optimizer.rates='^encoder\\.mix=1,^encoder=0' --config.model.encoder.mix_layers=True
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema


def get_config(argument: str = "bert") -> ConfigDict:
    """``bert`` is for BERT, RoBERTa and CodeBERT, ``modernbert`` for ModernBERT and Ettin, ``gpt2`` for GPT-2."""
    config = schema.default()
    config.origin.run = f"runs/{argument}"
    config.origin.take = ("shape", "tokenizer", "parameters")
    config.model.encoder = schema.architecture("encoder", argument)  # its shape is the origin's

    config.tokenizer.vocab_size = 4096
    config.model.width = 256
    config.model.decoder = schema.architecture(
        "decoder", "transformer", layers=3, num_heads=4, head_width=64, feed_forward=1024
    )
    config.model.scan = False  # unrolled blocks run faster on a CPU

    config.data.encoder_length = 240
    config.data.decoder_length = 512
    config.data.batch_size = 8

    config.optimizer.learning_rate = 1e-3
    config.optimizer.rates = (r"^encoder\.=0.1",)
    config.train.steps = 2000
    config.decode.max_tokens = 192
    config.evaluate.max_examples = 256
    return config
