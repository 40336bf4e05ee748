"""Small changes of Python code, each of which a test of that code should notice.

Left alone are what only people read: messages of errors, assertions, annotations, docstrings and the text of the log.
"""

import ast
import copy
import dataclasses

SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Change:
    """One change: its line, what was there, and what is there now."""

    line: int
    was: str
    now: str


class _Walk(ast.NodeTransformer):
    """Lists every change it could make, in the order of the code, and makes that of number `target`."""

    def __init__(self, target: int = -1):
        self.target, self.found = target, []

    def _offer(self, node: ast.AST, now: ast.AST) -> ast.AST:
        chosen = len(self.found) == self.target
        was, text = ast.unparse(node), ast.unparse(ast.fix_missing_locations(now))
        self.found.append(Change(node.lineno, was, text))
        return ast.copy_location(now, node) if chosen else node

    def _swap(self, node: ast.AST, field: str, operator: ast.AST) -> ast.AST:
        now = copy.deepcopy(node)
        setattr(now, field, [operator] if field == "ops" else operator)
        return self._offer(node, now)

    # What is left alone.

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return node

    visit_Assert = visit_JoinedStr = visit_Raise

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.value = self.visit(node.value) if node.value else None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.args.defaults = [self.visit(value) for value in node.args.defaults]
        node.args.kw_defaults = [value and self.visit(value) for value in node.args.kw_defaults]
        node.body = [self.visit(statement) for statement in node.body]
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(statement) for statement in node.body]
        return node

    # What is changed.

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if not isinstance(node.value, ast.Call) or ast.unparse(node.value).startswith("LOG."):
            return node
        node.value = self.visit(node.value)
        return self._offer(node, ast.Pass())

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        node.test = self._offer(node.test, ast.Constant(False))
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        swapped = SWAPPED.get(type(node.ops[0])) if len(node.ops) == 1 else None
        return self._swap(node, "ops", swapped()) if swapped else node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        return self._swap(node, "op", SWAPPED[type(node.op)]())

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        textual = any(
            isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
            for side in (node.left, node.right)
        )
        swapped = None if textual else SWAPPED.get(type(node.op))
        return self._swap(node, "op", swapped()) if swapped else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return self._offer(node, node.operand) if isinstance(node.op, ast.Not | ast.USub) else node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        match node.value:
            case bool():
                return self._offer(node, ast.Constant(not node.value))
            case int():
                return self._offer(node, ast.Constant(node.value + 1))
            case float():
                return self._offer(node, ast.Constant(node.value * 2 or 1.0))
        return node


def changes(source: str) -> list[Change]:
    """List every change of `source`; a number in this list names one."""
    walk = _Walk()
    walk.visit(ast.parse(source))
    return walk.found


def changed(source: str, number: int) -> str:
    """Return `source` with the change of that number; comments and layout are lost."""
    tree = _Walk(number).visit(ast.parse(source))
    return ast.unparse(ast.fix_missing_locations(tree))
