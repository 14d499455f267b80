"""What nobody asks for is left out of a library: functions, methods, tables, imports."""

import ast
from collections.abc import Iterable


def shake(trees: dict[str, ast.Module], kept: set[str]) -> None:
    """Leave out functions and methods whose names nothing that is left asks for."""
    while True:
        asked = set(kept)
        for tree in trees.values():
            for node in ast.walk(tree):
                asked.update(_asked(node))
        dropped = [_Shake(asked) for _ in trees]
        for shaking, tree in zip(dropped, trees.values(), strict=True):
            shaking.visit(tree)
        if not any(shaking.dropped for shaking in dropped):
            return


def _asked(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield node.attr


class _Shake(ast.NodeTransformer):
    def __init__(self, asked: set[str]) -> None:
        self.asked = asked
        self.dropped = 0
        self.at_top = True

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:  # ast's own
        if node.name in self.asked or node.name.startswith("__"):
            return self._within(node)
        self.dropped += 1
        return None

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST | None:  # ast's own
        if node.name in self.asked:
            return self._within(node)
        self.dropped += 1
        return None

    def _within(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        outside, self.at_top = self.at_top, False
        self.generic_visit(node)
        self.at_top = outside
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:  # ast's own
        target = node.targets[0]
        name = target.id if isinstance(target, ast.Name) else ""
        # A module's own table or number; what is called may do more than give a value.
        if not self.at_top or not name or name in self.asked or name.startswith("__"):
            return node
        if any(isinstance(part, ast.Call) for part in ast.walk(node.value)):
            return node
        self.dropped += 1
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:  # ast's own
        names = [one for one in node.names if (one.asname or one.name) in self.asked]
        self.dropped += len(node.names) - len(names)
        node.names = names
        return node if names else None

    def visit_If(self, node: ast.If) -> ast.AST:  # ast's own
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST:  # ast's own
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node
