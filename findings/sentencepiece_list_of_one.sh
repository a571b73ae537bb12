#!/usr/bin/env bash
# SentencePiece starts a thread for a list of one text, whatever num_threads says, and takes several times as long.
#
# Versions:  sentencepiece 0.2.3, Python 3.11.
# Behaviour: Encode("text") encodes in the caller's thread. Encode(["text"]) starts a thread for that call, with
#            num_threads=1 too, and the same ids come back. A server that encodes one prompt at a time through the
#            interface for lists pays for a thread with each. Threads are counted by the last number that the kernel gave
#            away (/proc/loadavg, Linux), to which other processes add.
# Output:    one text: 7 us, 0; list of it: 46 us, 1001; with num_threads=1: 35 us, 1000 (threads of 1,000 calls)
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sentencepiece==0.2.3
cd "$work"
cat >threads.py <<'PYTHON'
import random
import sys
import time

import sentencepiece

random.seed(0)
words = ["".join(random.choices("abcdefgh", k=random.randint(2, 8))) for _ in range(200)]
lines = [" ".join(random.choices(words, k=9)) for _ in range(500)]
options = {"model_type": "bpe", "minloglevel": 2}
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(lines), model_prefix="model", vocab_size=300, **options
)
model = sentencepiece.SentencePieceProcessor(model_file="model.model")
ways = {
    "one text": lambda text: model.encode(text),
    "list of it": lambda text: model.encode([text])[0],
    "with num_threads=1": lambda text: model.encode([text], num_threads=1)[0],
}


def newest():
    with open("/proc/loadavg") as file:
        return int(file.read().split()[-1])


found = {}
for name, encode in ways.items():
    assert [encode(line) for line in lines] == [model.encode(line) for line in lines]
    before, begin = newest(), time.perf_counter()
    for _ in range(2):
        for line in lines:
            encode(line)
    found[name] = time.perf_counter() - begin, newest() - before
print("; ".join(f"{name}: {1e3 * seconds:.0f} us, {threads}" for name, (seconds, threads) in found.items()))
sys.exit(found["with num_threads=1"][1] < 1000 or found["one text"][1] >= 1000)
PYTHON
venv/bin/python threads.py || { echo "changed: a list of one text starts no thread" >&2; exit 1; }
