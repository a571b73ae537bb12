"""The grammars of logical forms in ``configs/grammars``: each argument is of the kind that its predicate takes."""

from pathlib import Path

import pytest

from t2c_jax.decode.grammar.membership import Membership

GRAMMARS = Path(__file__).resolve().parents[2] / "configs" / "grammars"
FORMS = {
    "jobs": (
        "job ( ANS )",
        "job ( ANS ) , company ( ANS , companyid0 ) , \\+ loc ( ANS , locid1 )",
        "job ( ANS ) , ( ( language ( ANS , languageid0 ) ) ; ( language ( ANS , languageid1 ) ) )",
        "company ( A , ANS ) , salary_greater_than ( A , 40000 , year ) , \\+ ( area ( A , areaid0 ) , req_exp ( A ) )",
    ),
    "geo": (
        "population:i c0",
        "capital:c ( argmax $1 ( state:t $1 ) ( count $2 ( and ( state:t $2 ) ( next_to:t $1 $2 ) ) ) )",
        "argmax $0 ( and ( major:t $0 ) ( river:t $0 ) ( not ( loc:t $0 s0 ) ) ) ( len:i $0 )",
        "lambda $0 e ( and ( state:t $0 ) ( exists $1 ( and ( city:t $1 ) ( named:t $1 n0 ) ( loc:t $1 $0 ) ) ) )",
        "count $0 ( and ( river:t $0 ) ( loc:t $0 co0 ) ( > ( len:i $0 ) ( len:i r0 ) ) )",
    ),
}
ILL_TYPED = {
    "jobs": (
        "job ( ANS ) , title ( ANS , companyid0 )",
        "job ( ANS ) , req_deg ( ANS , year0 )",
        "job ( ANS , locid0 )",
        "job ( ANS ) ,",
        "job ( ANS",
    ),
    "geo": (
        "len:i c0",
        "argmax $0 ( city:t $0 ) ( len:i $0 )",
        "lambda $0 e ( and ( state:t $0 ) ( loc:t $0 n0 ) )",
        "lambda $0 e ( state:t s0 )",
        "population:i",
        "lambda $0 e ( and ( state:t $0 )",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_grammar_holds_well_typed_forms_and_no_others(name):
    is_form = Membership(str(GRAMMARS / f"{name}.lark"))
    assert [text for text in FORMS[name] if not is_form(text)] == []
    assert [text for text in ILL_TYPED[name] if is_form(text)] == []
