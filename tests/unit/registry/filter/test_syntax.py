"""What filters are read as, and what the ones that cannot be read are told."""

import pytest

from registry.errors import InvalidError
from registry.filter.lexer import MAX_LENGTH
from registry.filter.parser import MAX_DEPTH, MAX_TERMS, parse
from registry.filter.syntax import And, Function, Literal, Not, Or, Restriction, Sought, Syntax


def written(tree: Syntax | Literal) -> str:
    """The tree with every pair of parentheses there is."""
    match tree:
        case And(parts):
            return f"({' & '.join(map(written, parts))})"
        case Or(parts):
            return f"({' | '.join(map(written, parts))})"
        case Not(part):
            return f"!{written(part)}"
        case Restriction(member, comparator, value):
            return f"{member.text}{comparator}{written(value)}"
        case Function(name, arguments):
            return f"{name}({','.join(map(written, arguments))})"
        case Sought(value):
            return f"?{written(value)}"
    return "~".join(tree.parts)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a = 1", "a=1"),
        ("a=1 AND b=2 OR c=3", "(a=1 & (b=2 | c=3))"),
        ("a=1 b=2 OR c=3 AND d=4", "((a=1 & (b=2 | c=3)) & d=4)"),
        ("(a=1 AND b=2) OR c=3", "((a=1 & b=2) | c=3)"),
        ("NOT a=1", "!a=1"),
        ("-a=1 -(b=2 OR c=3)", "(!a=1 & !(b=2 | c=3))"),
        ("NOT(a=1)", "!a=1"),
        ("a<1 AND a<=1 AND a>1 AND a>=1 AND a!=1 AND a:1", "(a<1 & a<=1 & a>1 & a>=1 & a!=1 & a:1)"),
        ("a.b.c = x", "a.b.c=x"),
        ("a.AND = x", "a.AND=x"),
        ('a."b c".d = x', "a.b c.d=x"),
        ("a = -5 AND b = -1.5", "(a=-5 & b=-1.5)"),
        ("a = 1.2.3-rc1", "a=1.2.3-rc1"),
        ('a = "AND"', "a=AND"),
        ('a = "x*y"', "a=x~y"),
        ("a = x*", "a=x~"),
        (r'a = "x\*y"', "a=x*y"),
        (r'a = "say \"so\" \\ "', 'a=say "so" \\ '),
        ("a = 'it is \"so\"'", 'a=it is "so"'),
        ("a > 2012-04-21T11:30:00.5-04:00 b", "(a>2012-04-21T11:30:00.5-04:00 & ?b)"),
        ("near(21.03, -105.8,500)", "near(21.03,-105.8,500)"),
        ('a > ago("1h")', "a>ago(1h)"),
        ("f()", "f()"),
        ("Long Bien", "(?Long & ?Bien)"),
        ('"Long Bien"', "?Long Bien"),
        ("*", "?~"),
        ("cầu = sông", "cầu=sông"),
        ("v1.2", "?v1.2"),
    ],
)
def test_filters_are_read(text, tree):
    assert written(parse(text)) == tree


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_filter_is_no_filter(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a =", "expected a value"),
        ("= 1", "expected field = value"),
        ("a = 1 AND", "at the end"),
        ("a = 1 AND AND b = 1", "character 11"),
        ("a = 1 OR", "at the end"),
        ("AND a = 1", "expected field = value"),
        ("a = 1 and b = 2", "write AND in capitals"),
        ("a = 1 && b = 2", "write AND"),
        ("a = 1 || b = 2", "write OR"),
        ("!a = 1", "write NOT"),
        ("NOT NOT a = 1", "one NOT"),
        ("(a = 1", "no end"),
        ("a = 1)", "character 6"),
        ("()", "expected field = value"),
        ("a = (1 OR 2)", "repeat the field"),
        ('a = "1', "no end"),
        ("a. = 1", "behind the dot"),
        ("a = 1 = 2", "character 7"),
        ("a = 1ANDb = 2", "character 11"),
        ("f(1", "expected `,`"),
        ("f(1,)", "expected a value"),
        ("f(a=1)", "expected `,`"),
        ("a = \\x", "in quotes"),
        ("a\x00b = 1", "NUL"),
        ("a = AND", "in quotes"),
        (",", "expected field = value"),
        ("f(1,2,3,4,5,6,7,8,9,10,11,12)", "too many"),
    ],
)
def test_what_cannot_be_read_is_told_what_and_where(text, says):
    with pytest.raises(InvalidError) as refused:
        parse(text)
    (violation,) = refused.value.violations
    assert (violation.field, violation.reason) == ("filter", "FILTER_SYNTAX")
    assert says in violation.description


def test_a_filter_of_100_kb_is_refused():
    with pytest.raises(InvalidError) as refused:
        parse('labels.owner = "' + "x" * 100_000 + '"')
    assert refused.value.violations[0].reason == "FILTER_TOO_LONG"
    assert str(MAX_LENGTH) in refused.value.violations[0].description


@pytest.mark.parametrize("opened", ["(", "-(", "f("])
def test_depth_is_bounded(opened):
    deep = opened * (MAX_DEPTH + 1)
    with pytest.raises(InvalidError, match="inside one another"):
        parse(deep + "a" + ")" * (MAX_DEPTH + 1))


def test_terms_are_bounded():
    assert parse(" ".join(["a=1"] * MAX_TERMS)) is not None
    with pytest.raises(InvalidError, match="more than"):
        parse(" ".join(["a=1"] * (MAX_TERMS + 1)))
