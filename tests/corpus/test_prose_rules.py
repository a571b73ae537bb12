import dataclasses

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import Pair, Source
from t2c_jax.corpus.rules import PairRules
from t2c_jax.corpus.rules.prose_rules import is_language
from t2c_jax.errors import UserError

CONFIG = CorpusConfig(min_text_chars=0, min_code_chars=0, min_alphanumeric_share=0.0, text="docstring")
CODE = "def get_user_names(self, limit):\n    return self.names[:limit]\n"


def judged(text, config=CONFIG, code=CODE, kind="function", licence="", mined=True):
    pair = Pair("id", text, code, "python", kind, Source("r", "", "a.py", 1, 2, licence))
    found = PairRules(config, mined)(pair)
    return found if isinstance(found, str) else ""


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("TODO: document this", "text is a placeholder"),
        ("FIXME", "text is a placeholder"),
        ("To be documented.", "text is a placeholder"),
        ("Not yet implemented", "text is a placeholder"),
        ("No documentation available.", "text is a placeholder"),
        ("_summary_", "text is a placeholder"),
        ("...", "text is a placeholder"),
        ("{@inheritDoc}", "text is boilerplate"),
        ("(non-Javadoc) @see Foo#bar()", "text is boilerplate"),
        ("See base class.", "text is boilerplate"),
        ("Default constructor.", "text is boilerplate"),
        ("Auto-generated method stub", "text is boilerplate"),
        ("Initialize self.  See help(type(self)) for accurate signature.", "text is boilerplate"),
        ("Return repr(self).", "text is boilerplate"),
        ("Copyright (c) 2020 The Authors. All rights reserved.", "text is boilerplate"),
        ("Licensed under the Apache License, Version 2.0.", "text is boilerplate"),
        ("See base class for details.", "text is boilerplate"),
        ("See the docstring in `Users` base class.", "text is boilerplate"),
        ("See :meth:`Users.get_names`.", "text is boilerplate"),
        ("See `Users.get_names()` for more details.", "text is boilerplate"),
        ("see docstring of users.get_names", "text is boilerplate"),
        ("See https://example.com/a/users#names", "text is boilerplate"),
        ("https://example.com/a\nhttps://example.com/b", "text is boilerplate"),
        ("@copydoc users::get_names(int)const", "text is boilerplate"),
        ("\\copybrief get_names", "text is boilerplate"),
        (":meta private:", "text is boilerplate"),
        ("**DEPRECATED**", "text is boilerplate"),
        ("This function is deprecated.", "text is boilerplate"),
        ("Docstring.", "text is a placeholder"),
        ("Gets the user names.", "text says only the name"),
        ("users::get_user_names(User self, int limit) -> str[]", "text says only the name"),
        ("lib::get_user.limit(User(a!) self) -> (str name, int id)", "text says only the name"),
        ("get_user_names(limit) -> list. The first names, by age.", ""),
        ("get_user_names(limit) -> a list of names", ""),
        ("integrate(f(x), x) -> f(x)", ""),
        ("See :meth:`Users.get_names` for what a name is.", ""),
        ("Deprecated: use the names of the group instead.", ""),
        ("As in https://example.com/a, the first names.", ""),
        ("get_user_names", "text says only the name"),
        ("Returns the first user names, up to a limit.", ""),
        ("Gets the names of users that are logged in.", ""),
        ("Todos are listed by day.", ""),
        ("See how many users there are, and name them.", ""),
        ("Summary of the names, by length.", ""),
    ],
)
def test_texts_that_say_nothing(text, rule):
    assert judged(text) == rule


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ('@route("/names(of)", users=Users)\n@cached\ndef get_user_names(request):\n    return 1\n', "function"),
        ("template <typename T, typename = std::enable_if_t<is<T>()>>\nList<T> get_user_names() { }", "function"),
        ("#[inline(always)]\npub fn get_user_names<T>(a: T) {}", "function"),
        ("[Fact(a)]\npublic lib::List<Name> GetUserNames() {}", "method"),
        ('@Names("a(b)")\n@Get\npublic static final class UserNames extends Base {', "class"),
        ("type UserNames struct {\n}", "class"),
        ("export type UserNames = { }", "class"),
        ("template <class T> struct UserNames : Base { };", "class"),
        ("enum class UserNames { }", "class"),
    ],
)
def test_a_name_behind_decorators_and_templates(code, kind):
    assert judged("Gets the user names.", code=code, kind=kind) == "text says only the name"
    assert judged("Gets the cached names.", code=code, kind=kind) == ""


def test_code_without_a_name_is_not_what_a_text_says():
    assert judged("Returns the value.", code="x") == ""


def test_a_signature_above_the_text_is_no_prose():
    config = dataclasses.replace(CONFIG, text="signature+docstring")
    assert judged("def get_user_names(self, limit)\nTODO", config) == "text is a placeholder"
    assert judged("def todo(self, limit)\nNames of those who wait.", config) == ""


def test_prose_rules_by_choice_and_source():
    assert judged("TODO", dataclasses.replace(CONFIG, prose=("restated",))) == ""
    assert judged("TODO", mined=False) == ""
    assert judged("TODO", dataclasses.replace(CONFIG, rules_for="all"), mined=False) == "text is a placeholder"
    assert judged("", CONFIG) == ""  # code alone
    assert judged("get user names", dataclasses.replace(CONFIG, text="name")) == ""


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Returns the first names that are in the list, or none.", "en"),
        ("Gibt die ersten Namen zurück, die in der Liste sind, und sonst nicht.", "de"),
        ("Renvoie les premiers noms qui sont dans la liste, avec une limite.", "fr"),
        ("Возвращает первые имена списка.", "ru"),
        ("返回列表中的第一个名称。", "zh"),
        ("リストの最初の名前を返します。", "ja"),
    ],
)
def test_languages(text, language):
    for other in ("en", "de", "fr", "ru", "zh"):
        if {language, other} != {"zh", "ja"}:
            assert is_language(text, other) == (language == other), other
    rule = judged(text, dataclasses.replace(CONFIG, text_language="en"))
    assert rule == ("" if language == "en" else "text in another language than text_language")
    assert is_language("HTTP 404", "en")


@pytest.mark.parametrize(
    ("licence", "kept"),
    [
        ("MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-2.0) AND Apache-2.0", True),
        ("GPL-3.0", False),
        ("LGPL-2.1+", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("BUSL-1.1", False),
        ("MIT/Apache-2.0", False),
        ("", False),
    ],
)
def test_an_allow_list_of_licences(licence, kept):
    config = dataclasses.replace(CONFIG, licences=("MIT", "Apache-2.0", "LGPL-2.1-only"))
    rule = judged("Those who have logged in.", config, licence=licence)
    assert rule == ("" if kept else f"licence {licence or 'unknown'} is not in config.corpus.licences")


def test_a_list_of_what_is_no_licence_is_refused():
    with pytest.raises(UserError, match=r"licences: 'Apache 3' is no SPDX identifier"):
        PairRules(dataclasses.replace(CONFIG, licences=("Apache 3",)))


def test_hostile_texts_take_no_long():
    for unit in ("-", "see the ", "{@", "a ", "todo", " \n", "is ", "https://", "see `a", "a("):
        judged("a" + unit * 20, code=unit * 20_000)
        judged(unit * 20_000, dataclasses.replace(CONFIG, max_text_chars=10**6, text_language="en"))
