"""Source as a device gets it: the same program, without what only people and tools read.

Code loaded from .mpy lives in the heap of a microcontroller, about 1.5 bytes a byte. So the device
gets no annotations, no branches for CPython, no imports for types, numbers in place of the names
of limits and kinds, and errors with their reason alone (docs/protocol.md, section 1.7, has the
message of a reason).
"""

import ast
import re
from collections.abc import Iterable

from tallystick.tools._cache import ToolMissing
from tallystick.tools.device_branches import only_micropython
from tallystick.tools.device_lean import lean
from tallystick.tools.device_names import COROUTINE, fewer_names

# Modules of nothing but numbers: their names are replaced wherever they are used.
CONSTANT_MODULES = ("tallystick.evidence.kinds", "tallystick.evidence.limits")
_ERRORS = {"Malformed", "Unverified", "CouldNotCheck", "TransportError", "KeyDriverError"}


def constants(source: str) -> dict[str, int]:
    """The numbers that a module of nothing but numbers names."""
    found: dict[str, int] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            (target,) = node.targets
            if isinstance(target, ast.Name) and type(node.value.value) is int:
                found[target.id] = node.value.value
    return found


def slim(source: str, known: dict[str, dict[str, int]]) -> str:
    """The same module for a device; `known` are the constant modules' numbers by module name."""
    tree = _Slim(known).visit(only_micropython(ast.parse(source)))
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def slim_all(
    modules: dict[str, bytes], *, board: bool = False, programs: Iterable[str] = ()
) -> dict[str, bytes]:
    """Slim every module (path below the library to source), with the numbers of all of them.

    `board`: with nothing but what a recorder's program needs, and the sources `programs` use
    (device_lean.py).
    """
    known = {}
    for name in CONSTANT_MODULES:
        source = modules.get(name.replace(".", "/") + ".py")
        if source is not None:
            known[name] = constants(source.decode())
    found = {}
    for place, source in modules.items():
        try:
            found[place] = slim(_plain(source.decode()), known)
        except SyntaxError as error:
            message = f"{place} is no Python: {error}"
            raise ToolMissing("device-syntax", message) from error
    shrunk = lean(found, programs) if board else fewer_names(found)
    return {place: _coroutines(source).encode() for place, source in shrunk.items()}


# What shrinks code need not know of coroutines: they are functions with a decorator meanwhile.
_MARK = "@" + COROUTINE
_ASYNC = re.compile(r"^( *)async def ", re.MULTILINE)
_MARKED = re.compile(rf"^( *){_MARK}\n *def ", re.MULTILINE)


def _plain(source: str) -> str:
    return _ASYNC.sub(rf"\1{_MARK}\n\1def ", source)


def _coroutines(source: str) -> str:
    return _MARKED.sub(r"\1async def ", source)


class _Slim(ast.NodeTransformer):
    def __init__(self, known: dict[str, dict[str, int]]) -> None:
        self.known = known
        self.numbers: dict[str, int] = {}
        self.modules: dict[str, dict[str, int]] = {}

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:  # ast's own
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(part) for part in node.orelse]
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:  # ast's own
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id in ("TYPE_CHECKING", "__all__"):
            return None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:  # ast's own
        if node.value is None:
            return None
        return ast.Assign([node.target], self.visit(node.value), lineno=node.lineno)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # ast's own
        node.returns = None
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:  # ast's own
        return self._without_docstring(node)

    def _without_docstring(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:  # ast's own
        numbers = self.known.get(node.module or "", {})
        kept = []
        for alias in node.names:
            name = alias.asname or alias.name
            whole = self.known.get(f"{node.module}.{alias.name}")
            if whole is not None:
                self.modules[name] = whole
            elif alias.name in numbers and name == alias.name:
                self.numbers[name] = numbers[name]
            else:
                kept.append(alias)
        node.names = kept
        return node if kept else None

    def visit_Name(self, node: ast.Name) -> ast.AST:  # ast's own
        if isinstance(node.ctx, ast.Load) and node.id in self.numbers:
            return ast.Constant(self.numbers[node.id])
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:  # ast's own
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            return ast.Constant(self.modules[node.value.id][node.attr])
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:  # ast's own
        if isinstance(node.func, ast.Name) and node.func.id in _ERRORS and len(node.args) == 2:
            node.args[1] = ast.Constant("")
        return self.generic_visit(node)
