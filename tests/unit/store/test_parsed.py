"""What a syntax tree names; what is not known in it is refused."""

import pytest

from store.embedded.parsed import UnreadableError, named

SELECT = """SelectWithUnionQuery (children 1)
 ExpressionList (children 1)
  SelectQuery (children 3)
   ExpressionList (children 1)
    Identifier a.x
   TablesInSelectQuery (children 2)
    TablesInSelectQueryElement (children 1)
     TableExpression (children 1)
      TableIdentifier d.t (alias a)
    TablesInSelectQueryElement (children 2)
     TableExpression (children 1)
      Function merge (alias m) (children 1)
       ExpressionList (children 1)
        Literal 'd'
     TableJoin
   Function globalNotIn (children 1)
    ExpressionList (children 2)
     Identifier k
     Identifier d.u"""


def test_tables_functions_and_the_right_side_of_in_are_named() -> None:
    found = named(SELECT)
    assert found.tables == {"d.t", "d.u"}
    assert found.table_functions == {"merge"}


@pytest.mark.parametrize(
    "line",
    ["ColumnsApplyTransformer", "Set", "ExplainQuery", "      TableIdentifier a b", "", "TableIdentifier", "Strange",
     "TableIdentifier d.t (alias a) (alias b"],
)  # fmt: skip
def test_what_is_not_known_is_refused(line: str) -> None:
    with pytest.raises(UnreadableError):
        named(f"SelectQuery (children 1)\n {line}")
