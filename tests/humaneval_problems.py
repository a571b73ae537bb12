"""Problems of our own in the published format of HumanEval."""

PROBLEMS = [
    {
        "task_id": "HumanEval/9000",
        "prompt": (
            "from typing import List\n\n\ndef running_max(numbers: List[int]) -> List[int]:\n"
            '    """ From a list of integers, make a list of the maximum so far.\n'
            '    >>> running_max([1, 3, 2])\n    [1, 3, 3]\n    """\n'
        ),
        "entry_point": "running_max",
        "canonical_solution": (
            "    result = []\n    for n in numbers:\n"
            "        result.append(n if not result else max(n, result[-1]))\n    return result\n"
        ),
        "test": (
            "\n\nMETADATA = {\n    'author': 'x',\n    'dataset': 'test'\n}\n\n\ndef check(candidate):\n"
            "    assert candidate([]) == []\n    assert candidate([-2, -3, 5, 4]) == [-2, -2, 5, 5]\n\n"
        ),
    },
    {
        "task_id": "HumanEval/9001",
        "prompt": '\n\ndef vowels(text: str) -> int:\n    """ Count the vowels, also y at the end.\n    """\n',
        "entry_point": "vowels",
        "canonical_solution": (
            '    count = sum(c in "aeiou" for c in text.lower())\n'
            '    if text and text[-1] in "yY":\n        count += 1\n    return count\n'
        ),
        "test": (
            'def check(candidate):\n    assert candidate("abcdE") == 2, "Test 1"\n'
            '    assert candidate("keY") == 2\n    assert candidate("") == 0\n'
        ),
    },
    {
        "task_id": "HumanEval/9002",
        "prompt": 'import math\n\n\ndef is_square(n: int) -> bool:\n    """ Whether n is a perfect square.\n    """\n',
        "entry_point": "is_square",
        "canonical_solution": "    if n < 0:\n        return False\n    return math.isqrt(n) ** 2 == n\n",
        "test": (
            "def check(candidate):\n    assert candidate(16) is True\n    assert candidate(15) is False\n"
            "    assert candidate(-4) is False\n    assert candidate(10**40) is True\n    assert candidate(0)\n"
        ),
    },
]
