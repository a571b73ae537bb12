"""What is drawn depends on the seed, the prompt, the sample's number and the step: on no other prompt and no shape."""

import numpy as np
import pytest
from tiny import experiment, make_mesh
from tiny_generators import PROMPTS

DRAWING = {"beam_size": 1, "temperature": 1.1, "samples": 3, "top_p": 0.98, "repetition_penalty": 1.2}
OTHERS = ["Close the door that was open.", "Return the product of two numbers.", "Open it, and write a line to it."]


def answers(generator, prompts):
    """Of each prompt, a (text, finished) for every sample, and their log-probabilities."""
    found = generator.generate(prompts)
    hypotheses = {prompt: answer.hypotheses for prompt, answer in zip(prompts, found, strict=True)}
    texts = {prompt: [(each.text, each.finished) for each in of_prompt] for prompt, of_prompt in hypotheses.items()}
    return texts, {prompt: [each.log_probability for each in of_prompt] for prompt, of_prompt in hypotheses.items()}


@pytest.mark.parametrize("kind", ["transformer", "gru"])
def test_samples_are_a_function_of_seed_and_prompt(kind, generators):
    """Other prompts around a prompt, other sizes of a batch, and eight devices change nothing but roundings."""
    eight = make_mesh(experiment(mesh={"data": 4, "fsdp": 2}))
    made = generators(kind, batch_size=4, **DRAWING)
    texts, log_p = answers(made, PROMPTS)
    assert len({text for of_prompt in texts.values() for text, _ in of_prompt}) == 3 * len(PROMPTS)
    others = {
        "other prompts": (made, [*OTHERS, *PROMPTS]),
        "another order": (made, PROMPTS[::-1]),
        "another size of a batch": (generators(kind, batch_size=7, **DRAWING), PROMPTS),
        "eight devices": (generators(kind, mesh=eight, batch_size=16, **DRAWING), [*PROMPTS, *OTHERS]),
    }
    for changed, (generator, prompts) in others.items():
        found, other_log_p = answers(generator, prompts)
        assert {prompt: found[prompt] for prompt in PROMPTS} == texts, changed
        for prompt in PROMPTS:  # sums of 16 float32 log-probabilities, rounded otherwise
            np.testing.assert_allclose(other_log_p[prompt], log_p[prompt], atol=1e-4)
    seeded, _ = answers(generators(kind, batch_size=4, seed=1, **DRAWING), PROMPTS)
    assert all(seeded[prompt] != texts[prompt] for prompt in PROMPTS)
