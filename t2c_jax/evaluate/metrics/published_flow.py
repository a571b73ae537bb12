"""Data flow as the package ``codebleu`` 0.7.0 extracts it, faults included: see ``codebleu_published``.

``languages.data_flow`` is for everything else. Here, what the package does not know of a grammar is not known either:
Go's ``:=``, JavaScript's ``=`` and Rust's ``let`` assign nothing, C and C++ are read by the rules of C#.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node

    Sides = list[tuple[Node, Node]]  # what gets a value, and what it comes from
    Step = tuple[Node, Node] | Node  # an assignment, or a node to read
States = Mapping[str, tuple[int, ...]]
Span = tuple[tuple[int, int], tuple[int, int]]

_ATOMS = ("string_literal", "string", "character_literal")


class Unreadable(Exception):
    """The code is not as the package expects it, and then has no data flow at all."""


@dataclass(frozen=True)
class PublishedRules:
    """The rules of one language.

    Attributes:
      declares: kinds of nodes, and a function to their variable and value.
      assigns: kinds of nodes, and a function to their sides.
      listed: an assignment is one item with all of its sources; else one item a source.
      increments: kinds of nodes whose variables come from themselves.
      branches: kinds of nodes that are conditions, or begin an alternative.
      arms: kinds of children that are alternatives.
      sticky: all children behind the first alternative are alternatives too.
      keeps: the states before a condition reach behind it; else only where it has no alternative.
      loops: kinds of nodes, and a function to their steps.
      first: kinds of nodes that are read before their siblings.
    """

    declares: Mapping[str, Callable[[Node], tuple[Node, Node | None]]]
    assigns: Mapping[str, Callable[[Node], Sides]]
    branches: frozenset[str]
    arms: frozenset[str]
    loops: Mapping[str, Callable[[Node], list[Step]]]
    listed: bool = False
    increments: frozenset[str] = frozenset()
    sticky: bool = True
    keeps: bool = False
    first: frozenset[str] = frozenset()


class PublishedItem(NamedTuple):
    """An occurrence of a variable, with the names of its sources."""

    variable: str
    relation: str
    sources: tuple[str, ...]


def published_flow(root: Node, lines: Sequence[str], rules: PublishedRules) -> list[PublishedItem]:
    """The items of a tree, in the order of the code.

    Args:
      root: of the tree of the code without comments.
      lines: of the code. The package counts the bytes of the tree's columns as characters; so does this.
      rules: of its language.
    """
    try:
        reader = _Reader(rules, lines)
        reader.index(root)
        reader.read(root, {})
    except (Unreadable, KeyError, RecursionError):  # KeyError: it looks for leaves inside of strings, as of "a.b = ''"
        return []
    return reader.linked()


def published_numbers(items: Sequence[PublishedItem]) -> list[tuple[int, str, tuple[int, ...]]]:
    """The items with numbers for names, in the order in which items mention them, sources first."""
    numbers: dict[str, int] = {}
    for item in items:
        for name in (*item.sources, item.variable):
            numbers.setdefault(name, len(numbers))
    return [(numbers[item.variable], item.relation, tuple(map(numbers.__getitem__, item.sources))) for item in items]


@dataclass
class _Entry:
    variable: str
    relation: str
    names: list[str]
    places: set[int] = field(default_factory=set)


class _Reader:
    def __init__(self, rules: PublishedRules, lines: Sequence[str]) -> None:
        self._rules, self._lines = rules, lines
        self._leaves: dict[Span, tuple[int, str]] = {}
        self._entries: dict[int, _Entry] = {}
        self._ran: dict[tuple[int, frozenset[tuple[str, tuple[int, ...]]]], States] = {}

    def index(self, root: Node) -> None:
        """Numbers the leaves."""
        waiting, count = [root], 0
        while waiting:
            node = waiting.pop()
            if _is_leaf(node):
                self._leaves[_span(node)] = (count, self._text(_span(node)))
                count += 1
            else:
                waiting += reversed(node.children)

    def linked(self) -> list[PublishedItem]:
        used = {place for entry in self._entries.values() for place in entry.places}
        return [
            PublishedItem(entry.variable, entry.relation, tuple(entry.names))
            for place, entry in sorted(self._entries.items())
            if entry.places or place in used
        ]

    def _text(self, span: Span) -> str:
        (row, column), (last, end) = span
        if row == last:
            return self._lines[row][column:end]
        return "".join([self._lines[row][column:], *self._lines[row + 1 : last], self._lines[last][:end]])

    def _variables(self, node: Node | None) -> list[tuple[int, str]]:
        if node is None:
            raise Unreadable
        found, waiting = [], [node]
        while waiting:
            node = waiting.pop()
            if _is_leaf(node):
                place, text = self._leaves[_span(node)]
                if node.type != text:
                    found.append((place, text))
            else:
                waiting += reversed(node.children)
        return found

    def _note(self, variable: tuple[int, str], relation: str, sources: Sequence[tuple[int, str]]) -> None:
        place, name = variable
        names = [name for _, name in sources]
        if place in self._entries:
            entry = self._entries[place]
            entry.names = list(dict.fromkeys([*entry.names, *names]))  # the package: in the order of a hash table
        else:
            entry = self._entries[place] = _Entry(name, relation, names)
        entry.places.update(place for place, _ in sources)

    def read(self, node: Node | None, states: States) -> States:
        rules = self._rules
        if node is None:
            raise Unreadable
        if _is_leaf(node):
            return self._mention(node, states)
        if node.type in rules.declares:
            variable, value = rules.declares[node.type](node)
            if value is None:
                names = self._variables(variable)
                for each in names:
                    self._note(each, "comesFrom", [])
                return {**states, **{name: (place,) for place, name in names}}
            states = self.read(value, states)
            return self._bind(self._variables(variable), self._variables(value), "comesFrom", states, listed=False)
        if node.type in rules.assigns:
            sides = rules.assigns[node.type](node)
            for _, value in sides:
                states = self.read(value, states)
            return self._assign(sides, states)
        if node.type in rules.increments:
            own = self._variables(node)
            return self._bind(own, own, "computedFrom", states, listed=False)
        if node.type in rules.branches:
            return self._branch(node, states)
        if node.type in rules.loops:
            return self._loop(node, states)
        children = node.children
        for child in sorted(children, key=lambda child: child.type not in rules.first):
            states = self.read(child, states)
        return states

    def _mention(self, node: Node, states: States) -> States:
        place, text = self._leaves[_span(node)]
        if node.type == text:
            return states
        if text in states:
            self._note((place, text), "comesFrom", [(states[text][0], text)])
            self._entries[place].places.update(states[text])
            return states
        self._note((place, text), "comesFrom", [])
        return {**states, text: (place,)} if node.type == "identifier" else states

    def _assign(self, sides: Sides, states: States) -> States:
        for left, right in sides:
            states = self._bind(
                self._variables(left), self._variables(right), "computedFrom", states, listed=self._rules.listed
            )
        return states

    def _bind(
        self,
        left: Sequence[tuple[int, str]],
        right: Sequence[tuple[int, str]],
        relation: str,
        states: States,
        listed: bool,
    ) -> States:
        for variable in left:
            for sources in [right] if listed else [[source] for source in right]:
                self._note(variable, relation, sources)
        return {**states, **{name: (place,) for place, name in left}}

    def _branch(self, node: Node, states: States) -> States:
        rules, ends, alternative = self._rules, list[States](), False
        inside = states
        complete = "else" in node.type
        for child in node.children:
            complete |= "else" in child.type
            if child.type in rules.arms or (alternative and rules.sticky):
                alternative = True
                ends.append(self.read(child, states))
            else:
                inside = self.read(child, inside)
        ends.append(inside)
        if rules.keeps or not complete:
            ends.append(states)
        merged: dict[str, tuple[int, ...]] = {}
        for end in ends:
            for name, places in end.items():
                merged[name] = merged.get(name, ()) + places
        return {name: tuple(sorted(set(places))) for name, places in merged.items()}

    def _loop(self, node: Node, states: States) -> States:
        """A loop's steps; of equal states, once, since the package's time is exponential in the depth of loops."""
        key = (node.id, frozenset(states.items()))
        if key in self._ran:
            leaves = self._places(node)
            for place in leaves & self._entries.keys():
                entry = self._entries[place]
                entry.names = list(dict.fromkeys(entry.names))  # as a second round leaves them
            return self._ran[key]
        for step in self._rules.loops[node.type](node):
            states = self._assign([step], states) if isinstance(step, tuple) else self.read(step, states)
        self._ran[key] = states
        return states

    def _places(self, node: Node) -> set[int]:
        found, waiting = set[int](), [node]
        while waiting:
            node = waiting.pop()
            if _is_leaf(node):
                found.add(self._leaves[_span(node)][0])
            else:
                waiting += node.children
        return found


def _is_leaf(node: Node) -> bool:
    return (not node.child_count or node.type in _ATOMS) and node.type != "comment"


def _span(node: Node) -> Span:
    start, end = node.start_point, node.end_point
    return (start[0], start[1]), (end[0], end[1])


def _named(node: Node, name: str) -> Node | None:
    return node.child_by_field_name(name)


def _part(node: Node, name: str) -> Node:
    found = node.child_by_field_name(name)
    if found is None:
        raise Unreadable
    return found


def _fields(left: str, right: str) -> Callable[[Node], tuple[Node, Node | None]]:
    return lambda node: (_part(node, left), _named(node, right))


def _sides(left: str = "left", right: str = "right") -> Callable[[Node], Sides]:
    return lambda node: [(_part(node, left), _part(node, right))]


def _paired(left: Node, right: Node) -> Sides:
    """Children without commas one by one, where both sides have as many; else the sides."""
    targets, values = ([child for child in side.children if child.type != ","] for side in (left, right))
    if len(targets) != len(values):
        return [(left, right)]
    return list(zip(targets or [left], values or [right], strict=True))


def _python_assignment(node: Node) -> Sides:
    if node.type == "for_in_clause":
        return [(_part(node, "left"), node.children[-1])]
    right = _named(node, "right")
    return [] if right is None else _paired(_part(node, "left"), right)


def _python_for(node: Node) -> list[Step]:
    sides = _paired(_part(node, "left"), _part(node, "right"))
    body = [node.children[-1]] if node.children[-1].type == "block" else []
    return [*(value for _, value in sides), *sides, *body] * 2


def _ruby_assignment(node: Node) -> Sides:
    left, right = _part(node, "left"), _part(node, "right")
    return [(node.children[0], node.children[-1])] if node.type == "operator_assignment" else _paired(left, right)


def _each(name: str, value: str) -> Callable[[Node], list[Step]]:
    """A loop over the elements of a value, twice."""
    return lambda node: [_part(node, value), (_part(node, name), _part(node, value)), _part(node, "body")] * 2


def _php_each(node: Node) -> list[Step]:
    found = [child for child in node.children if child.type == "variable_name"][:2]
    if len(found) < 2:
        raise Unreadable
    value, name = found
    return [value, (name, value), _part(node, "body")] * 2


def _twice(node: Node) -> list[Step]:
    return [*node.children] * 2


def _again_behind(kind: str) -> Callable[[Node], list[Step]]:
    """All children, then those behind the first one of a kind again."""

    def steps(node: Node) -> list[Step]:
        kinds = [child.type for child in node.children]
        return [*node.children, *(node.children[kinds.index(kind) + 1 :] if kind in kinds else [])]

    return steps


def _go_for(node: Node) -> list[Step]:
    found: list[Step] = [*node.children]
    behind = False
    for child in node.children:
        if behind:
            found.append(child)
        elif child.type == "for_clause":
            update = _named(child, "update")
            found += [] if update is None else [update]
            behind = True
    return found


def _csharp_declaration(node: Node) -> tuple[Node, Node | None]:
    return node.children[0], node.children[1] if len(node.children) == 2 else None


def _rust_function(node: Node) -> tuple[Node, Node | None]:
    return node.children[1], node.children[2] if len(node.children) >= 3 else None


_IF = frozenset({"if_statement", "else"})
_RUBY_IF = frozenset({"if", "elsif", "else", "unless", "when"})
_RUST_IF = frozenset({"if_expression", "if_let_expression", "match_expression", "else"})
_PHP_IF = frozenset({"if_statement", "else_clause"})
_CSHARP = PublishedRules(
    declares={"variable_declarator": _csharp_declaration},
    assigns={"assignment_expression": _sides()},
    increments=frozenset({"postfix_unary_expression"}),
    branches=_IF,
    arms=_IF,
    loops={
        "for_statement": _again_behind("local_variable_declaration"),
        "for_each_statement": _each("left", "right"),
        "while_statement": _twice,
    },
)
PUBLISHED_RULES: Mapping[str, PublishedRules] = {
    "c": _CSHARP,
    "cpp": _CSHARP,
    "csharp": _CSHARP,
    "go": PublishedRules(
        declares={"var_spec": _fields("name", "value")},
        assigns={"assignment_statement": _sides()},
        increments=frozenset({"inc_statement"}),
        branches=_IF,
        arms=_IF,
        keeps=True,
        loops={"for_statement": _go_for},
    ),
    "java": PublishedRules(
        declares={"variable_declarator": _fields("name", "value")},
        assigns={"assignment_expression": _sides()},
        increments=frozenset({"update_expression"}),
        branches=_IF,
        arms=_IF,
        loops={
            "for_statement": _again_behind("local_variable_declaration"),
            "enhanced_for_statement": _each("name", "value"),
            "while_statement": _twice,
        },
    ),
    "javascript": PublishedRules(
        declares={"variable_declarator": _fields("name", "value")},
        assigns={"assignment_pattern": _sides(), "augmented_assignment_expression": _sides()},
        increments=frozenset({"update_expression"}),
        branches=_IF,
        arms=_IF,
        keeps=True,
        loops={"for_statement": _again_behind("variable_declaration"), "while_statement": _twice},
    ),
    "php": PublishedRules(
        declares={"simple_parameter": _fields("name", "default_value")},
        assigns={"assignment_expression": _sides(), "augmented_assignment_expression": _sides()},
        increments=frozenset({"update_expression"}),
        branches=_PHP_IF,
        arms=_PHP_IF,
        keeps=True,
        loops={
            "for_statement": _again_behind("assignment_expression"),
            "foreach_statement": _php_each,
            "while_statement": _twice,
        },
    ),
    "python": PublishedRules(
        declares={"default_parameter": _fields("name", "value")},
        assigns=dict.fromkeys(("assignment", "augmented_assignment", "for_in_clause"), _python_assignment),
        listed=True,
        branches=frozenset({"if_statement"}),
        arms=frozenset({"elif_clause", "else_clause"}),
        sticky=False,
        loops={"for_statement": _python_for, "while_statement": _twice},
        first=frozenset({"for_in_clause"}),
    ),
    "ruby": PublishedRules(
        declares={"keyword_parameter": _fields("name", "value")},
        assigns=dict.fromkeys(("assignment", "operator_assignment"), _ruby_assignment),
        listed=True,
        branches=_RUBY_IF,
        arms=_RUBY_IF,
        sticky=False,
        loops={"for": _each("pattern", "value"), "while_modifier": _twice, "until": _twice},
    ),
    "rust": PublishedRules(
        declares={"function_item": _rust_function},
        assigns=dict.fromkeys(("assignment_expression", "compound_assignment_expr", "let_expression"), _sides()),
        branches=_RUST_IF,
        arms=_RUST_IF,
        loops={
            "for_expression": _again_behind("local_variable_declaration"),
            "for_each_statement": _each("left", "right"),
            "while_expression": _twice,
            "while_let_expression": _twice,
            "loop_expression": _twice,
        },
    ),
}
