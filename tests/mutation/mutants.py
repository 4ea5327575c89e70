"""Small faults, one at a time: every mutant of a module that the operators below can make.

What is not mutated: annotations, imports, decorators, docstrings, assertions (they state what types cannot), and the
text of messages: what has a space in it is for people.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_MEMBERS = {
    "CircuitState": ("CLOSED", "OPEN", "HALF_OPEN", "FORCED_OPEN", "DISABLED", "OBSERVE_ONLY"),
    "Effect": ("COUNTS", "OPENS", "NOTHING"),
}
_UNTOUCHED = (ast.Import, ast.ImportFrom, ast.Assert, ast.Raise, ast.JoinedStr)
_UNTOUCHED_FIELDS = {"annotation", "returns", "decorator_list", "bases", "ctx"}
_GENERICS = {"tuple", "dict", "list", "Callable"}
_LONGEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault: what stands in `field` (at `place`, if that is a list) of a node becomes `new`, or goes."""

    name: str
    line: int
    parent: ast.AST
    field: str
    place: int | None
    new: ast.AST | None

    def apply(self) -> None:
        """Change the tree for good: for a process that has no other use for it."""
        if self.place is None:
            setattr(self.parent, self.field, self.new)
        elif self.new is None:
            del getattr(self.parent, self.field)[self.place]
        else:
            getattr(self.parent, self.field)[self.place] = self.new
        ast.fix_missing_locations(self.parent)


def mutants(tree: ast.Module, module: str) -> list[Mutant]:
    """Every mutant of a module, by a name that no other one has and that survives edits elsewhere."""
    seen: Counter[str] = Counter()
    found = []
    for mutant in _below(tree, module, tree):
        seen[mutant.name] += 1
        many = seen[mutant.name]
        found.append(mutant if many == 1 else _renamed(mutant, f"{mutant.name} ({many})"))
    return found


def _renamed(mutant: Mutant, name: str) -> Mutant:
    return Mutant(
        name=name, line=mutant.line, parent=mutant.parent, field=mutant.field, place=mutant.place, new=mutant.new
    )


def _below(node: ast.AST, scope: str, around: ast.AST) -> Iterator[Mutant]:
    """The mutants of everything in a node. `around` is the expression or statement that they are shown in."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        scope = f"{scope}.{node.name}"
    for field, value in ast.iter_fields(node):
        if field in _UNTOUCHED_FIELDS:
            continue
        children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for place, child in children:
            if not isinstance(child, ast.AST) or _is_untouchable(child):
                continue
            for new, what in _instead(child, node, field):
                shown = f"{scope}: {what}{_place(child, node, field, place, around)}"
                line = getattr(child, "lineno", 0)
                yield Mutant(name=shown, line=line, parent=node, field=field, place=place, new=new)
            if not isinstance(child, _UNTOUCHED):
                yield from _below(child, scope, child if isinstance(child, ast.expr | ast.stmt) else around)


def _place(child: ast.AST, parent: ast.AST, field: str, place: int | None, around: ast.AST) -> str:
    """Where a node stands, in words."""
    if not isinstance(child, ast.expr):
        return ""
    if isinstance(parent, ast.arguments) and place is not None:
        named = parent.kwonlyargs if field == "kw_defaults" else parent.args[-len(parent.defaults) :]
        return f" as the default of {named[place].arg}"
    return f" in `{_shown(around)}`"


def _is_untouchable(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(getattr(node, "ctx", None), ast.Store):
        return True
    is_generic = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in _GENERICS
    return is_generic or isinstance(node, ast.Import | ast.ImportFrom | ast.Assert | ast.JoinedStr)


def _shown(node: ast.AST) -> str:
    """The first line of what a node says."""
    text = ast.unparse(node).splitlines()[0]
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


_Instead = Iterator[tuple[ast.AST | None, str]]


def _instead(node: ast.AST, parent: ast.AST, field: str) -> _Instead:
    """What may stand in the place of a node, and how that is told. None: nothing."""
    match node:
        case ast.stmt():
            yield from _instead_of_statement(node)
        case ast.Compare():
            yield from _instead_of_comparison(node)
        case ast.BoolOp():
            yield from _instead_of_and_or(node)
        case ast.BinOp(op=operator) if type(operator) in _ARITHMETIC:
            other = deepcopy(node)
            other.op = _ARITHMETIC[type(operator)]()
            yield other, f"`{_shown(other)}`"
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand, f"`{_shown(node.operand)}` for `{_shown(node)}`"
        case ast.Constant():
            yield from _instead_of_constant(node)
        case ast.Name(id=name) if name in _NAMES:
            yield ast.Name(_NAMES[name], ast.Load()), f"{_NAMES[name]} for {name}"
        case ast.Attribute(value=ast.Name(id="math"), attr="inf"):
            yield ast.UnaryOp(ast.USub(), node), "-inf for inf"
        case ast.Attribute(value=ast.Name(id=enum), attr=member) if member in _MEMBERS.get(enum, ()):
            members = _MEMBERS[enum]
            other_member = members[(members.index(member) + 1) % len(members)]
            yield ast.Attribute(node.value, other_member, ast.Load()), f"{other_member} for {member}"
        case ast.IfExp():
            yield node.body, f"always `{_shown(node.body)}`"
            yield node.orelse, f"never `{_shown(node.body)}`"
    yield from _less(node, parent, field)


def _instead_of_statement(node: ast.stmt) -> _Instead:
    match node:
        case ast.If():
            for outcome in (True, False):
                other = ast.If(ast.Constant(outcome), node.body, node.orelse)
                yield other, f"{'always' if outcome else 'never'} `{_shown(node)}`"
        case ast.While():
            yield ast.Pass(), f"without `{_shown(node)}`"
        case ast.For():
            yield ast.Pass(), f"without `{_shown(node)}`"
        case ast.Break():
            yield ast.Continue(), "continue for break"
        case ast.Continue():
            yield ast.Break(), "break for continue"
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None)), f"None for `{_shown(node)}`"
        case ast.AugAssign(op=operator) if type(operator) in _ARITHMETIC:
            other_op = ast.AugAssign(node.target, _ARITHMETIC[type(operator)](), node.value)
            yield other_op, f"`{_shown(other_op)}` for `{_shown(node)}`"
            yield ast.Pass(), f"without `{_shown(node)}`"
        case ast.Assign() | ast.Expr() | ast.Raise():
            yield ast.Pass(), f"without `{_shown(node)}`"


def _instead_of_comparison(node: ast.Compare) -> _Instead:
    for place, operator in enumerate(node.ops):
        for kind in _COMPARISONS[type(operator)]:
            other = deepcopy(node)
            other.ops[place] = kind()
            yield other, f"`{_shown(other)}` for `{_shown(node)}`"


def _instead_of_and_or(node: ast.BoolOp) -> _Instead:
    other = ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    yield other, f"`{_shown(other)}`"
    for place, operand in enumerate(node.values):
        rest = node.values[:place] + node.values[place + 1 :]
        without = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        yield without, f"without `{_shown(operand)}`"


def _instead_of_constant(node: ast.Constant) -> _Instead:
    value = node.value
    others: tuple[object, ...] = ()
    if isinstance(value, bool):
        others = (not value,)
    elif isinstance(value, int | float):
        others = (value + 1, value - 1) if value else (value + 1,)
    elif isinstance(value, str) and " " not in value:
        others = (f"not {value}",)
    for other in others:
        yield ast.Constant(other), f"{other!r} for {value!r}"  # type: ignore[arg-type]


def _less(node: ast.AST, parent: ast.AST, field: str) -> _Instead:
    """An argument by keyword may go, and one element of a display."""
    if isinstance(node, ast.keyword) and node.arg is not None:
        yield None, f"without `{_shown(node)}` in `{_shown(parent)}`"
    if isinstance(parent, ast.Tuple | ast.List | ast.Set) and field == "elts" and len(parent.elts) > 1:
        yield None, f"without `{_shown(node)}`"
    if isinstance(node, ast.Dict):
        for place, key in enumerate(node.keys):
            keys, values = node.keys[:place] + node.keys[place + 1 :], node.values[:place] + node.values[place + 1 :]
            gone = _shown(node.values[place]) if key is None else _shown(key)
            yield ast.Dict(keys, values), f"without `{gone}`"
