import pytest
from evaluate_examples import pair

from t2c_jax.evaluate.metrics.metric import metrics_named
from t2c_jax.evaluate.metrics.python_match import canonical_python, python_match


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("x=f(a,'b')", 'x = f ( a , "b" )'),
        ("if x:", "if x :"),
        ("if (x):", "if x :"),
        ("elif not c:", "elif not c :"),
        ("else:", "else :"),
        ("for a in b:", "for a in b :"),
        ("while True:", "while True :"),
        ("try:", "try :"),
        ("except (A, B) as e:", "except ( A , B ) as e :"),
        ("except:", "except :"),
        ("finally:", "finally :"),
        ("with a as b:", "with a as b :"),
        ("def f(a, *b):", "def f ( a , * b ) :"),
        ("class A(B):", "class A ( B ) :"),
        ("@x.y(1)", "@ x . y ( 1 )"),
        ("return 1", "return   1"),
        ("not ( python", "not  ( python"),
        ("case 1:", "case 1 :"),
        ("case [a, *_] if a:", "case [ a , * _ ] if a :"),
        ("case 1: return x", "case 1 : return x"),
        ("case 1:\n x = 1\n y = 2", "case 1 :\n    x=1\n    y=2"),
        ("match x:", "match x :"),
        ("match (x, y):", "match x , y :"),
        ("if x:", "if x : # c"),
        ("if x:  # a", "if x : # b: c"),
        ("else:", "else : # c"),
        ("case 1:", "case 1 : # c"),
        ("try:", "try : # c"),
        ("match x:", "match x : # c"),
        ("@x", "@ x # c"),
        ("if x:", "if x :\n    # c"),
        ("def f():\n    if (a and\nb):", "def f ( ) :\n  if ( a and b ) : # c"),
        ("async for a in b:", "async for a in b :"),
        ("except* E:", "except * E :"),
        ("x = 1", "x = 1 # c"),
        ("if x == '#':", "if x == '#' :"),
        ("# a", "#  a"),
        ("", "  "),
    ],
)
def test_layout_and_comments_do_not_count(prediction: str, reference: str):
    assert python_match(prediction, reference)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("x = f(a, 'c')", "x = f ( a , 'b' )"),
        ("if x:", "elif x :"),
        ("if x:", "if x :\n    pass"),  # the line alone is not the statement
        ("if _: pass\nelse:", "else :"),
        ("x = ' a  b'", "x = ' a b'"),  # within a string spacing counts
        ("x = (", "x = 1"),
        ("", "x = 1"),
        ("# a", "# b"),
        ("", "# a"),
        ("# a", ""),
        ("# a", "x = 1"),
        ("case 2:", "case 1 :"),
        ("case x:", "match x :"),
        ("match x:\n    case _: pass", "match x :"),
        ("match y:", "match x :"),
        ("if y: # c", "if x : # c"),
        ("if x: return", "if x : # c"),
        ("not(python", "not ( python"),
        ("x = 1\0", "x = 1"),
        ("(" * 10_000, "x = 1"),
        ("-" * 100_000 + "1", "x = 1"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_differs_does_not_match(prediction: str, reference: str):
    assert not python_match(prediction, reference)


def test_what_parses_alone_needs_no_completion():
    assert canonical_python("x=1") == ("", "x = 1")
    assert canonical_python("else if :") is None


def test_the_score_is_a_share():
    (metric,) = metrics_named(("python_match",))
    pairs = [pair(str(n), "t", code) for n, code in enumerate(("x = 1", "else :", "a b", "f ( )"))]
    rows = metric.statistics(pairs, [["x=1"], ["else:"], ["a  b"], ["g()"]])
    assert rows.tolist() == [[1, 1], [1, 1], [1, 1], [0, 1]]
    assert metric.score(rows.sum(axis=0).tolist()) == 75
