"""What is easily written in place of what: operators and names.

Runs inside the sandbox too (Python 3.8 or newer, standard library only).
"""

from __future__ import annotations

import ast

COMPARE = {
    "<": ("<=", ">", ">=", "!="),
    "<=": ("<", ">=", ">", "=="),
    ">": (">=", "<", "<=", "!="),
    ">=": (">", "<=", "<", "=="),
    "==": ("!=", "is", ">=", "<=", "in"),
    "!=": ("==", "is not", "<", ">"),
    "is": ("is not", "=="),
    "is not": ("is", "!="),
    "in": ("not in", "=="),
    "not in": ("in", "!="),
}
ARITHMETIC = {
    "+": ("-", "*", "|"),
    "-": ("+", "//"),
    "*": ("/", "+", "//", "**"),
    "/": ("//", "*", "%"),
    "//": ("/", "%", "*"),
    "%": ("//", "*"),
    "**": ("*",),
    "<<": (">>",),
    ">>": ("<<",),
    "&": ("|", "^", "and"),
    "|": ("&", "^", "or"),
    "^": ("|", "&"),
    "@": ("*",),
}
SYMBOL = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is",
    ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in", ast.Add: "+", ast.Sub: "-", ast.Mult: "*",
    ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**", ast.LShift: "<<", ast.RShift: ">>",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.MatMult: "@", ast.And: "and", ast.Or: "or",
}  # fmt: skip
_FAMILIES = """
lower upper casefold title capitalize swapcase
append extend insert add appendleft
min max sum
any all
startswith endswith
lstrip rstrip strip
keys values items
find rfind index rindex
split rsplit splitlines partition rpartition
pop popleft popitem
remove discard
update setdefault
union intersection difference symmetric_difference
ljust rjust center
issubset issuperset
isdigit isalpha isalnum isdecimal isnumeric isspace
islower isupper
floor ceil round trunc int
int float str
abs int
sorted reversed list
tuple list set frozenset
dict list
str repr bytes
isinstance issubclass
getattr hasattr
encode decode
match search fullmatch
read readline readlines
zip zip_longest
map filter
count index
get pop
bisect_left bisect_right bisect
insort_left insort_right insort
first last
left right
start stop end
prev next
head tail
__enter__ __exit__
__iter__ __next__
KeyError IndexError LookupError AttributeError
ValueError TypeError AttributeError
StopIteration GeneratorExit
"""
SIBLINGS: dict[str, list[str]] = {}
"""Names that are easily taken for one another."""
for _family in _FAMILIES.splitlines():
    for _word in _family.split():
        SIBLINGS.setdefault(_word, []).extend(w for w in _family.split() if w != _word)
