"""Deep LSTMs without attention: Sutskever, Vinyals, Le 2014, "Sequence to Sequence Learning with Neural Networks".

t2c run --config configs/seq2seq_lstm.py --workdir runs/seq2seq_lstm
t2c run --config configs/seq2seq_lstm.py --workdir runs/seq2seq_lstm_1 --config.seed=1
t2c evaluate --workdir runs/seq2seq_lstm --with runs/seq2seq_lstm_1

A deep unidirectional LSTM reads the reversed source (section 3.3). Its states initialise another LSTM, which writes the
target. Weights are from U(-0.08, 0.08). Gradient descent at 0.7 without momentum, halved every half epoch after the
fifth of 7.5 epochs, gradients clipped at norm 5, batches of 128 (3.4). Beam search, and ensembles that average
probabilities (3.6).

The paper's effects on WMT'14 English to French, in BLEU: reversal 26.2 to 30.6, five members 30.6 to 34.8. Its four
layers of 1000 units trained on eight GPUs for ten days. Here two layers of 256 train for an hour on a CPU. The loss
is the mean over tokens here and over pairs in the paper, hence the smaller norm of 0.5 for clipping. Without
attention or copying the model learns the form of Python, not the names in the text.
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema

EPOCH = 66  # batches in an epoch over the pairs of the standard library


def get_config() -> ConfigDict:
    """On the standard library of the running Python."""
    config = schema.default()
    config.tokenizer.vocab_size = 4096

    config.model.encoder = schema.architecture("encoder", "lstm", layers=2, width=256, bidirectional=False)
    config.model.decoder = schema.architecture(
        "decoder", "lstm", layers=2, width=256, bridge="copy", attention="none", input_feeding=False
    )
    config.model.width = 256
    config.model.tied_embeddings = False
    config.model.uniform_init = 0.08
    config.model.dropout = 0.0

    config.data.reverse_source = True
    config.data.pack = False
    config.data.encoder_length = 96
    config.data.decoder_length = 128
    config.data.batch_size = 128

    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.7
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 0.5
    config.optimizer.warmup_steps = 0
    config.optimizer.schedule = "step_decay"
    config.optimizer.decay_start = 5 * EPOCH
    config.optimizer.decay_every = EPOCH // 2
    config.optimizer.decay_factor = 0.5
    config.train.steps = 15 * EPOCH // 2
    config.train.z_loss = 0.0
    config.decode.beam_size = 12
    config.decode.max_tokens = 128
    config.evaluate.max_examples = 256
    return config
