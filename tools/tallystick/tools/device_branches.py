"""Only what MicroPython runs: branches for CPython are left out of a device's library.

A module asks `sys.implementation.name == "micropython"`, or a name that it gave the answer. On a
device the answer is known, so the other branch, and all names in it, need not lie in its heap.
"""

import ast

ANSWER = ast.dump(ast.parse('sys.implementation.name == "micropython"', mode="eval").body)
NAMES = {"MICROPYTHON", "_MICROPYTHON"}
_ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)


def only_micropython(tree: ast.Module) -> ast.Module:
    """The module with the branch that MicroPython takes, wherever that is known."""
    taken: ast.Module = _Branches().visit(tree)
    names = {node.id for node in ast.walk(taken) if isinstance(node, ast.Name)}
    if "sys" not in names:
        # Only the question needed it.
        taken.body = [
            node
            for node in taken.body
            if not (isinstance(node, ast.Import) and node.names[0].name == "sys")
        ]
    return taken


class _Branches(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.AST:  # ast's own
        return ast.Constant(value=True) if ast.dump(node) == ANSWER else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:  # ast's own
        known = node.id in NAMES and isinstance(node.ctx, ast.Load)
        return ast.Constant(value=True) if known else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:  # ast's own
        target = node.targets[0]
        named = isinstance(target, ast.Name) and target.id in NAMES
        return None if named else self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:  # ast's own
        node.names = [alias for alias in node.names if alias.name not in NAMES]
        return node if node.names else None

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:  # ast's own
        self.generic_visit(node)
        answer = _answer(node.operand) if isinstance(node.op, ast.Not) else None
        return node if answer is None else ast.Constant(value=not answer)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:  # ast's own
        self.generic_visit(node)
        ends = isinstance(node.op, ast.Or)
        kept = []
        for part in node.values:
            answer = _answer(part)
            if answer is None:
                kept.append(part)
            elif answer is ends:
                kept.append(part)  # nothing after it is looked at
                break
        if not kept:
            return ast.Constant(value=not ends)
        node.values = kept
        return node if len(kept) > 1 else kept[0]

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:  # ast's own
        self.generic_visit(node)
        answer = _answer(node.test)
        return node if answer is None else node.body if answer else node.orelse

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:  # ast's own
        self.generic_visit(node)
        node.body = _reached(node.body)
        answer = _answer(node.test)
        return node if answer is None else node.body if answer else node.orelse

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # ast's own
        self.generic_visit(node)
        node.body = _reached(node.body) or [ast.Pass()]
        return node


def _reached(body: list[ast.stmt]) -> list[ast.stmt]:
    """What stands behind an end is never reached; but a generator is one by its yield."""
    for at, statement in enumerate(body):
        rest = [part for later in body[at + 1 :] for part in ast.walk(later)]
        yields = any(isinstance(part, ast.Yield | ast.YieldFrom) for part in rest)
        if isinstance(statement, _ENDS) and not yields:
            return body[: at + 1]
    return body


def _answer(node: ast.expr) -> bool | None:
    known = isinstance(node, ast.Constant) and isinstance(node.value, bool)
    return bool(node.value) if known else None  # type: ignore[attr-defined]  # a Constant
