import pytest

from t2c_jax.papers.semantic_parsing.logic_match import logic_match, logic_tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("s0", "s0"),
        ("count $0 ( state:t $0 )", ("count", "$0", ("state:t", "$0"))),
        ("( lambda $0 e ( and ( b $0 ) ( a $0 ) ) )", ("lambda", "$0", "e", ("and", ("a", "$0"), ("b", "$0")))),
        ("and ( b ) a", ("and", "a", ("b",))),
        ("job ( ANS )", ("job", ("ANS",))),
        ("job ( ANS ) , area ( ANS , a0 )", (",", ("area", "ANS", "a0"), ("job", "ANS"))),
        (r"a ( X ) , \+ b ( X )", (",", ("\\+", ("b", "X")), ("a", "X"))),
        (r"\+ ( c , b ) ; a", (";", "a", ("\\+", (",", "b", "c")))),
        ("b , ( ( d ) ; ( c ) )", (",", "b", (";", "c", "d"))),
        (r"p ( X , \+q(Y) )", ("p", "X", ("\\+", ("q", "Y")))),
        ("p ( X , 'a , b' )", ("p", "X", "'a , b'")),
    ],
)
def test_trees(text: str, tree: object):
    assert logic_tree(text) == tree


@pytest.mark.parametrize(
    "text", ["", "( a", "a )", "f ( a , )", "f ( , a )", ", a", "a ,", "f ( a ) b , c", "\\+", "(" * 100_000 + ","]
)
def test_no_trees(text: str):
    assert logic_tree(text) is None


@pytest.mark.parametrize(
    ("prediction", "reference", "equal"),
    [
        ("lambda $0 e ( and ( x $0 ) ( y $0 ) )", "lambda $0 e (and (y $0) (x $0))", True),
        ("or ( and a b ) c", "or c ( and b a )", True),
        ("argmax $0 ( x $0 ) ( y $0 )", "argmax $0 ( y $0 ) ( x $0 )", False),
        ("and a a b", "and a b b", False),
        ("loc ( A , B ) , job ( A )", "job(A),loc(A,B)", True),
        ("loc ( B , A ) , job ( A )", "job ( A ) , loc ( A , B )", False),
        ("a , b", "a ; b", False),
        ("(  a", "( a", True),  # words, since the reference is no tree
        ("( a", "a", False),
    ],
)
def test_order_counts_where_it_means_something(prediction: str, reference: str, equal: bool):
    assert logic_match(prediction, reference) is equal
