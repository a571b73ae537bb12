"""Fine-tuning: a pre-trained model on pairs of your own.

t2c run --config configs/finetune.py --workdir runs/mine \\
  --config.origin.run=runs/pretrained --config.corpus.sources=pairs.jsonl

The run takes the shape, the tokenizer, the prefix and the parameters of its origin. Everything trains, at a lower
learning rate and with a copying head. Variants, each an override:

- a lower learning rate for a part, or a frozen part: --config.optimizer.rates="^encoder=0.1" or "^encoder=0"
- LoRA (Hu et al. 2021): --config.lora.rank=8
- replay: --config.origin.take=shape,tokenizer,prefix,parameters,tasks gives a tenth of the rows to the tasks of the
  origin and reports their dev losses; --config.origin.replay_share=0 only reports them
- random parameters with the same shape and tokenizer, for comparison: --config.origin.take=shape,tokenizer,prefix
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema


def get_config() -> ConfigDict:
    """What suits some thousands of pairs."""
    config = schema.default()
    config.origin.run = "runs/pretrained"
    config.origin.take = ("shape", "tokenizer", "prefix", "parameters")
    config.corpus.sources = ("pairs.jsonl",)
    config.corpus.min_text_chars = 1
    config.corpus.min_code_chars = 1
    config.corpus.min_alphanumeric_share = 0.0

    config.data.encoder_length = 256
    config.data.decoder_length = 256
    config.data.batch_size = 16

    config.model.copy = True
    config.model.scan = False
    config.model.dropout = 0.1

    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 100
    config.train.steps = 2000
    config.train.label_smoothing = 0.1
    config.train.z_loss = 0.0
    config.train.ema_decay = 0.998
    config.train.eval_every = 250
    config.train.save_every = 250
    config.train.eval_batches = 100
    config.decode.max_tokens = 160
    config.decode.no_repeat_ngram_size = 12  # trained on few pairs, a model repeats itself
    config.decode.batch_size = 32
    config.evaluate.split = "dev"
    return config
