import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.pair_origin import find_origin
from t2c_jax.corpus.sources import resolve
from t2c_jax.corpus.tally import Tally
from t2c_jax.corpus.tested_functions import mine_tests
from t2c_jax.languages.python.python_tests import is_test_file, subject_of
from t2c_jax.workdir import Workdir

FILES = {
    "shop/__init__.py": "from shop.prices import total\n",
    "shop/prices.py": '''
def total(prices, tax=0):
    """Add the prices up."""
    return sum(prices) * (1 + tax)


def total_of_all(lists):
    return sum(map(sum, lists))


@cached
def cheapest(prices):
    return min(prices)


class Cart:
    def add(self, price):
        self.prices.append(price)

    def clear(self):
        self.prices.clear()
''',
    "shop/names.py": "def short(name):\n    return name[:3]\n\n\ndef long(name):\n    return name\n",
    "other/prices.py": "def cheapest(prices):\n    return sorted(prices)[0]\n",
    "tests/test_prices.py": """
import shop
import shop.prices as p
from shop.prices import Cart, cheapest, total_of_all
from other import nothing


def test_total_with_tax():
    assert shop.total([1, 2], tax=1) == 6


def test_total_of_all():
    assert total_of_all([[1], [2]]) == p.total([3])


class TestCart:
    def test_add(self):
        cart = Cart()
        cart.add(3)
        assert cart.prices == [3]

    def test_both(self):
        cart = Cart()
        cart.add(3)
        cart.clear()


def test_the_least():
    assert cheapest([2, 1]) == 1


def test_nothing():
    assert nothing() is None


def test_without_calls():
    assert True
""",
    "tests/test_more.py": "from shop.names import short\n\n\ndef test_letters():\n    assert short('abcd') == 'abc'\n",
    "tests/test_bad.py": "def test_x(:\n",
}


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_tests_and_what_they_test(project, tmp_path):
    config, skipped = CorpusConfig(), Tally()
    pairs = list(mine_tests(resolve(str(project), config, tmp_path / "run"), config, skipped))
    assert [(pair.text.split("(")[0], pair.code.split("(")[0], pair.source.path) for pair in pairs] == [
        ("def test_total_with_tax", "def total", "shop/prices.py"),
        ("def test_total_of_all", "def total_of_all", "shop/prices.py"),
        ("def test_add", "def add", "shop/prices.py"),
        ("def test_the_least", "@cached\ndef cheapest", "shop/prices.py"),
    ]
    assert skipped.counts == {"test of no single function of the source": 3}
    for pair in pairs:
        lines = FILES[pair.source.path].split("\n")[pair.source.start_line - 1 : pair.source.end_line]
        assert [line.strip() for line in lines] == [line.strip() for line in pair.code.split("\n")]
        assert pair.kind == "test"
    assert pairs[2].text.startswith("def test_add(self):\n    cart = Cart()\n")
    assert len({pair.id for pair in pairs}) == 4


def test_the_corpus_holds_them_and_inspect_finds_them(project, tmp_path):
    config = CorpusConfig(kinds=("test",), sources=(str(project),), dev_share=0, test_share=0)
    workdir = Workdir(tmp_path / "run")
    assert build_corpus(config, workdir).manifest["counts"]["kinds"] == {"test": 4}
    pair = next(iter(read_pairs(workdir, "train")))
    assert find_origin(pair, config, workdir.path).equal


@pytest.mark.parametrize(
    ("path", "is_test"),
    [
        ("tests/a.py", True),
        ("a/tests/b/c.py", True),
        ("test_a.py", True),
        ("a/b_test.py", True),
        ("tests.py", True),
        ("contest.py", False),
        ("a/testing.py", False),
        ("latest/a.py", False),
    ],
)
def test_files_of_tests(path, is_test):
    assert is_test_file(path) == is_test


@pytest.mark.parametrize(
    ("test", "name"),
    [("test_add", "add"), ("test_add_twice", "add_twice"), ("test_adder", ""), ("test_Add_all", "add"), ("test", "")],
)
def test_the_longest_name_is_tested(test, name):
    assert subject_of(test, {"add", "add_twice", "all"}) == name
