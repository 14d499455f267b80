"""Source as it would compute on a board whose floats have 32 bits.

No build of MicroPython with single precision can be had here (Debian's, for any architecture, and
npm's all have doubles), so every float that a program writes down, makes by a call of float() or
gets from an arithmetic operator is rounded to 32 bits. What is left of doubles are floats from
elsewhere: json's and the clock's.
"""

import ast
import struct

# Integers only, tested by tests/test_single_precision.py; and slow enough as they are.
WHOLE = ("_ed25519.py", "_p256.py", "_p256form.py", "_power.py", "_sha512.py")
HELPER = """\
import struct


def single(value):
    if type(value) is float:
        return struct.unpack("f", struct.pack("f", value))[0]
    return value
"""


def rounded(value: float) -> float:
    """The nearest float of 32 bits."""
    try:
        found: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return found


class _Single(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Constant(rounded(node.value)) if type(node.value) is float else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        return ast.Call(ast.Name("_single", ast.Load()), [node], [])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "float":
            return ast.Call(ast.Name("_single", ast.Load()), [node], [])
        return node

    # Annotations are not computed.
    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node


def single(source: str) -> str:
    """The same program with floats of 32 bits; it needs the module `_single` (HELPER)."""
    tree = _Single().visit(ast.parse(source))
    own = ast.parse("from _single import single as _single").body
    # Behind the docstring, which is the module's first statement.
    at = 1 if ast.get_docstring(tree) is not None else 0
    tree.body[at:at] = own
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
