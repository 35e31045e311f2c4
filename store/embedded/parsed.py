"""What a query names: its tables and table functions, read from the syntax tree of the engine's own parser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# Kinds of nodes whose children the dump shows in full. `APPLY` is not here: it hides the function that it names.
_KINDS = frozenset(
    {
        "ArrayJoin", "Asterisk", "ColumnsExceptTransformer", "ColumnsListMatcher", "ColumnsRegexpMatcher",
        "ColumnsReplaceTransformer", "ColumnsReplaceTransformer::Replacement", "ColumnsTransformerList",
        "DescribeQuery", "ExistsTableQuery", "ExistsViewQuery", "ExpressionList", "Function", "Identifier",
        "InterpolateElement", "Literal", "OrderByElement", "QualifiedAsterisk", "QualifiedColumnsListMatcher",
        "QualifiedColumnsRegexpMatcher", "SampleRatio", "SelectIntersectExceptQuery", "SelectQuery",
        "SelectWithUnionQuery", "ShowTables", "Subquery", "TableExpression", "TableIdentifier", "TableJoin",
        "TablesInSelectQuery", "TablesInSelectQueryElement", "UseQuery", "WindowDefinition", "WindowListElement",
        "WithElement",
    }
)  # fmt: skip
_LINE = re.compile(r"( *)([A-Za-z:]+)(?: (.*))?")
_NAME = re.compile(r"([\w.]+)(?: \(alias [^()]*\))?(?: \(children \d+\))?")
_IN = re.compile(r"(global)?(not)?(null)?in(ignoreset)?", re.IGNORECASE)


class UnreadableError(Exception):
    """Something in the tree is not known here."""


@dataclass(slots=True)
class _Node:
    kind: str
    rest: str
    children: list["_Node"] = field(default_factory=list)

    def name(self) -> str:
        """Raises UnreadableError for a name that needs quotes."""
        match = _NAME.fullmatch(self.rest)
        if match is None:
            raise UnreadableError(f"the name {self.rest!a}")
        return match.group(1)


@dataclass(frozen=True, slots=True)
class Named:
    """Names as they are written: `table` or `database.table`."""

    tables: frozenset[str]
    table_functions: frozenset[str]


def named(dump: str) -> Named:
    """Read the answer to EXPLAIN AST. Raises UnreadableError."""
    tables: set[str] = set()
    functions: set[str] = set()
    for node in _walk(_tree(dump)):
        if node.kind == "TableIdentifier":
            tables.add(node.name())
        elif node.kind == "TableExpression":
            functions.update(child.name() for child in node.children if child.kind == "Function")
        elif node.kind == "Function" and _IN.fullmatch(node.rest.split(" ", 1)[0]) and node.children:
            # `x IN t` reads the table t; it may as well be a column.
            arguments = node.children[0].children
            tables.update(child.name() for child in arguments[1:] if child.kind == "Identifier")
    return Named(frozenset(tables), frozenset(functions))


def _tree(dump: str) -> _Node:
    root = _Node("", "")
    path = [root]
    for line in dump.split("\n"):
        match = _LINE.fullmatch(line)
        if match is None or match.group(2) not in _KINDS:
            raise UnreadableError(line.strip().split(" ")[0] if match else "a name")
        depth = len(match.group(1))
        if depth >= len(path):
            raise UnreadableError("a name")
        node = _Node(match.group(2), match.group(3) or "")
        del path[depth + 1 :]
        path[-1].children.append(node)
        path.append(node)
    return root


def _walk(node: _Node) -> Iterator[_Node]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children
