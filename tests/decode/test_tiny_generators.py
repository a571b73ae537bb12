"""What ``tiny_generators`` promises to the tests that use it."""

import pytest
import shared_programs
from tiny_generators import KINDS, PROMPTS


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_generator_answers_and_shares_its_programs(kind, generators):
    answers = generators(kind).generate(PROMPTS)
    assert len(answers) == len({answer.score for answer in answers}) == len(PROMPTS)
    made = dict(shared_programs.programs("search"))
    assert generators(kind).generate(PROMPTS) == answers
    assert shared_programs.programs("search") == made
