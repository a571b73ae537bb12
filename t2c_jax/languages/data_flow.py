"""Data flow of code: where the value of each variable comes from (Guo et al. 2021, "GraphCodeBERT", section 3).

The graph of a program has an item for each occurrence of a variable or literal. It holds the occurrences that its value
comes from: the last assignments before it, over all branches, or the right-hand side of its own assignment. A loop's
body is read twice, so that values of one round reach the next.

Code is read without types and without calls: a name is a variable, wherever it is defined.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.syntax_trees import encoded, states_nothing, syntax_tree

if TYPE_CHECKING:
    from tree_sitter import Node

Relation = Literal["comesFrom", "computedFrom"]
Selector = str | int  # a field's name, or the index of a named child
Sides = tuple[Selector, Selector]  # the variables that get a value, and where it comes from
States = Mapping[str, frozenset[int]]  # where each variable may have got its present value

DEEPEST = 200
"""Levels of a tree that are read; deeper ones, which no person writes, have no data flow here."""


@dataclass(frozen=True)
class FlowRules:
    """Which nodes of a grammar move values.

    Attributes:
      declares: nodes that give a variable its first value.
      assigns: nodes that give it another one. With an operator other than "=" the old value is part of the new one.
      increments: nodes whose variables come from themselves.
      branches: conditions, with the fields ``consequence`` or ``body``, and ``alternative``.
      loops: nodes whose children are read twice.
      first: nodes that are read before their siblings.
    """

    declares: Mapping[str, Sides] = field(default_factory=dict)
    assigns: Mapping[str, Sides] = field(default_factory=dict)
    increments: frozenset[str] = frozenset()
    branches: frozenset[str] = frozenset()
    loops: frozenset[str] = frozenset()
    first: frozenset[str] = frozenset()


class FlowItem(NamedTuple):
    """An occurrence of a variable, and the names of those that its value comes from."""

    variable: str
    relation: Relation
    sources: frozenset[str]


_LEFT_RIGHT: Sides = ("left", "right")
_NAME_VALUE: Sides = ("name", "value")
_PATTERN_VALUE: Sides = ("pattern", "value")
_C_LOOPS = frozenset({"for_statement", "while_statement", "do_statement"})
_JAVASCRIPT = FlowRules(
    declares={
        "variable_declarator": _NAME_VALUE,
        "assignment_pattern": _LEFT_RIGHT,
        "required_parameter": _PATTERN_VALUE,
        "optional_parameter": _PATTERN_VALUE,
    },
    assigns={
        "assignment_expression": _LEFT_RIGHT,
        "augmented_assignment_expression": _LEFT_RIGHT,
        "for_in_statement": _LEFT_RIGHT,
    },
    increments=frozenset({"update_expression"}),
    branches=frozenset({"if_statement", "ternary_expression"}),
    loops=_C_LOOPS | {"for_in_statement"},
)
_C = FlowRules(
    declares={"init_declarator": ("declarator", "value")},
    assigns={"assignment_expression": _LEFT_RIGHT, "for_range_loop": ("declarator", "right")},
    increments=frozenset({"update_expression"}),
    branches=frozenset({"if_statement", "conditional_expression"}),
    loops=_C_LOOPS | {"for_range_loop"},
)
FLOW_RULES: Mapping[str, FlowRules] = {
    "c": _C,
    "cpp": _C,
    "csharp": FlowRules(
        declares={"variable_declarator": ("name", 1)},
        assigns={"assignment_expression": _LEFT_RIGHT, "foreach_statement": _LEFT_RIGHT},
        increments=frozenset({"postfix_unary_expression", "prefix_unary_expression"}),
        branches=frozenset({"if_statement", "conditional_expression"}),
        loops=_C_LOOPS | {"foreach_statement"},
    ),
    "go": FlowRules(
        declares={"var_spec": _NAME_VALUE, "const_spec": _NAME_VALUE, "short_var_declaration": _LEFT_RIGHT},
        assigns={"assignment_statement": _LEFT_RIGHT, "range_clause": _LEFT_RIGHT},
        increments=frozenset({"inc_statement", "dec_statement"}),
        branches=frozenset({"if_statement"}),
        loops=frozenset({"for_statement"}),
    ),
    "java": FlowRules(
        declares={"variable_declarator": _NAME_VALUE, "resource": _NAME_VALUE},
        assigns={"assignment_expression": _LEFT_RIGHT, "enhanced_for_statement": _NAME_VALUE},
        increments=frozenset({"update_expression"}),
        branches=frozenset({"if_statement", "ternary_expression"}),
        loops=_C_LOOPS | {"enhanced_for_statement"},
    ),
    "javascript": _JAVASCRIPT,
    "php": FlowRules(
        declares={"simple_parameter": ("name", "default_value")},
        assigns={
            "assignment_expression": _LEFT_RIGHT,
            "augmented_assignment_expression": _LEFT_RIGHT,
            "foreach_statement": (1, 0),
        },
        increments=frozenset({"update_expression"}),
        branches=frozenset({"if_statement", "conditional_expression"}),
        loops=_C_LOOPS | {"foreach_statement"},
    ),
    "python": FlowRules(
        declares={"default_parameter": _NAME_VALUE, "typed_default_parameter": _NAME_VALUE},
        assigns={
            "assignment": _LEFT_RIGHT,
            "augmented_assignment": _LEFT_RIGHT,
            "named_expression": _NAME_VALUE,
            "for_statement": _LEFT_RIGHT,
            "for_in_clause": _LEFT_RIGHT,
            "as_pattern": (1, 0),
        },
        branches=frozenset({"if_statement"}),
        loops=frozenset({"for_statement", "while_statement"}),
        first=frozenset({"for_in_clause"}),
    ),
    "ruby": FlowRules(
        declares={"optional_parameter": _NAME_VALUE, "keyword_parameter": _NAME_VALUE},
        assigns={"assignment": _LEFT_RIGHT, "operator_assignment": _LEFT_RIGHT, "for": _PATTERN_VALUE},
        branches=frozenset({"if", "elsif", "unless", "conditional", "if_modifier", "unless_modifier"}),
        loops=frozenset({"for", "while", "until", "while_modifier", "until_modifier"}),
    ),
    "rust": FlowRules(
        declares={"let_declaration": _PATTERN_VALUE, "let_condition": _PATTERN_VALUE},
        assigns={
            "assignment_expression": _LEFT_RIGHT,
            "compound_assignment_expr": _LEFT_RIGHT,
            "for_expression": _PATTERN_VALUE,
        },
        branches=frozenset({"if_expression"}),
        loops=frozenset({"for_expression", "while_expression", "loop_expression"}),
    ),
    "typescript": _JAVASCRIPT,
}

_STRINGS = frozenset(
    {"string", "string_literal", "character_literal", "char_literal", "interpreted_string_literal"}
    | {"raw_string_literal", "template_string", "encapsed_string"}
)
# Of these a first mention defines the name, as in a list of parameters.
_VARIABLES = frozenset({"identifier", "variable_name", "instance_variable", "class_variable", "global_variable"})
_LISTS = frozenset(
    {"expression_list", "pattern_list", "tuple", "tuple_pattern", "tuple_expression", "array_pattern", "array"}
    | {"left_assignment_list", "right_assignment_list", "list_pattern", "list"}
)
_ELIFS = ("elif_clause", "else_if_clause")  # alternatives that may not be chosen
_PLAIN = ("=", ":=")  # operators that leave nothing of the old value


def data_flow(code: str, language: str) -> list[FlowItem] | None:
    """The items of the code's data flow, in its order; None for a language without rules.

    Occurrences that neither come from others nor are the source of others are left out.
    """
    rules = FLOW_RULES.get(canonical(language))
    tree = None if rules is None else syntax_tree(code, language)
    if rules is None or tree is None:
        return None
    reader = _Reader(rules, encoded(code))
    reader.read(tree.root_node, {}, 0)
    return list(reader.linked())


def normalised(items: Sequence[FlowItem]) -> Counter[tuple[int, Relation, tuple[int, ...]]]:
    """The items with numbers for names (Ren et al. 2020, section 3.3): 0 for the variable that is mentioned first.

    So code whose variables are renamed has the same items.
    """
    numbers: dict[str, int] = {}
    # Names of sources alone, which are below DEEPEST, come last.
    for name in (*(item.variable for item in items), *sorted({name for item in items for name in item.sources})):
        numbers.setdefault(name, len(numbers))
    return Counter(
        (numbers[item.variable], item.relation, tuple(sorted(numbers[name] for name in item.sources))) for item in items
    )


@dataclass
class _Item:
    variable: str
    relation: Relation
    sources: dict[int, str] = field(default_factory=dict)  # names by place


class _Reader:
    """Walks a tree in the order in which the code runs."""

    def __init__(self, rules: FlowRules, source: bytes) -> None:
        self._rules, self._source = rules, source
        self._items: dict[int, _Item] = {}  # by place: the offset of the occurrence
        self._ran: dict[tuple[int, frozenset[tuple[str, frozenset[int]]]], States] = {}

    def linked(self) -> Iterator[FlowItem]:
        """The items that have sources or are sources, in the order of the code."""
        used = {place for item in self._items.values() for place in item.sources}
        for place, item in sorted(self._items.items()):
            if item.sources or place in used:
                yield FlowItem(item.variable, item.relation, frozenset(item.sources.values()))

    def read(self, node: Node, states: States, depth: int) -> States:
        """Notes the items of a node, given the states before it; returns those behind it."""
        rules, kind = self._rules, node.type
        if depth > DEEPEST or states_nothing(node):
            return states
        if self._is_leaf(node):
            return self._mention(node, states)
        if kind in rules.loops:
            return self._loop(node, states, depth)
        if kind in rules.declares:
            return self._give(node, rules.declares[kind], "comesFrom", states, depth)
        if kind in rules.assigns:
            return self._give(node, rules.assigns[kind], "computedFrom", states, depth)
        if kind in rules.increments and _changes(node):
            return self._bind(self._leaves(node), self._leaves(node), "computedFrom", states)
        if kind in rules.branches:
            return self._branch(node, states, depth)
        children = node.children
        for child in sorted(children, key=lambda child: child.type not in rules.first) if rules.first else children:
            states = self.read(child, states, depth + 1)
        return states

    def _is_leaf(self, node: Node) -> bool:
        return not node.child_count or node.type in _STRINGS or node.type == "variable_name"

    def _text(self, node: Node) -> str:
        return self._source[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def _mention(self, node: Node, states: States) -> States:
        name = self._text(node)
        if not node.is_named or node.type == name or not name:
            return states  # a keyword or a sign
        if name in states:
            others = states[name] - {node.start_byte}  # in a loop's second round, its own first mention
            self._note(node, name, "comesFrom", dict.fromkeys(others, name))
            return states
        self._note(node, name, "comesFrom", {})
        return {**states, name: frozenset((node.start_byte,))} if node.type in _VARIABLES else states

    def _note(self, node: Node, name: str, relation: Relation, sources: Mapping[int, str]) -> None:
        self._items.setdefault(node.start_byte, _Item(name, relation)).sources.update(sources)

    def _leaves(self, node: Node) -> list[Node]:
        """The variables and literals below a node, in order."""
        found, waiting = [], [node]
        while waiting:
            node = waiting.pop()
            if not self._is_leaf(node):
                waiting += reversed(node.children)
            elif node.is_named and not node.is_extra and node.type != self._text(node):
                found.append(node)
        return found

    def _give(self, node: Node, sides: Sides, relation: Relation, states: States, depth: int) -> States:
        """Reads the sources of an assignment, then binds its variables; lists of one length one by one."""
        targets, values = _side(node, sides[0]), _side(node, sides[1])
        for value in values:
            states = self.read(value, states, depth + 1)
        operator = node.child_by_field_name("operator")
        if operator is not None and operator.type not in _PLAIN:
            values = [*targets, *values]
        left, right = ([self._leaves(part) for part in side] for side in (targets, values))
        if len(left) != len(right):
            left, right = ([list(itertools.chain(*side))] for side in (left, right))
        for variables, sources in zip(left, right, strict=True):
            states = self._bind(variables, sources, relation, states)
        return states

    def _bind(self, left: Sequence[Node], right: Sequence[Node], relation: Relation, states: States) -> States:
        sources = {leaf.start_byte: self._text(leaf) for leaf in right}
        for leaf in left:
            self._note(leaf, self._text(leaf), relation, sources)
        return {**states, **{self._text(leaf): frozenset((leaf.start_byte,)) for leaf in left}}

    def _branch(self, node: Node, states: States, depth: int) -> States:
        ends, complete = list[States](), False
        for index, child in enumerate(node.children):
            part = node.field_name_for_child(index)
            if part in ("consequence", "body", "alternative"):
                ends.append(self.read(child, states, depth + 1))
                complete |= part == "alternative" and child.type not in _ELIFS
            else:
                states = self.read(child, states, depth + 1)
        return _merged(ends if complete else [*ends, states])

    def _loop(self, node: Node, states: States, depth: int) -> States:
        """Reads a loop twice, for equal states once: the time would be exponential in the depth of loops."""
        key = (node.id, frozenset(states.items()))
        if key not in self._ran:
            before, rules = states, self._rules
            sides = rules.assigns.get(node.type)
            for _ in range(2):
                if sides is not None:
                    states = self._give(node, sides, "computedFrom", states, depth)
                bound = [part.id for side in sides or () for part in _part(node, side)]
                for child in node.children:
                    if child.id not in bound:
                        states = self.read(child, states, depth + 1)
            self._ran[key] = _merged([before, states])  # the loop may not run
        return self._ran[key]


def _part(node: Node, selector: Selector) -> list[Node]:
    if isinstance(selector, str):
        return node.children_by_field_name(selector)
    named = [child for child in node.named_children if not child.is_extra]
    return named[selector : selector + 1]


def _side(node: Node, selector: Selector) -> list[Node]:
    """The nodes of one side of an assignment: the elements of a list, or the side itself."""
    parts = [part for part in _part(node, selector) if part.is_named]
    if len(parts) == 1 and parts[0].type in _LISTS and parts[0].named_child_count:
        return parts[0].named_children
    return parts


def _changes(node: Node) -> bool:
    """Whether a unary operator changes its operand: "-x" does not."""
    return any(child.type in ("++", "--") for child in node.children)


def _merged(states: Sequence[States]) -> States:
    merged: dict[str, frozenset[int]] = {}
    for each in states:
        for name, places in each.items():
            merged[name] = merged[name] | places if name in merged else places
    return merged
