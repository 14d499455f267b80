"""Parameters of the device's library, under names that every MicroPython has in its ROM.

MicroPython keeps a function's parameters by name, in heap and for ever, since a caller may name
them. So what is always given by position is called by one of WORDS instead. A parameter keeps its
name when anything in the library gives it by name, when it must be given so, and in what programs
call by name: constructors of public classes, methods of the classes and functions in BY_NAME.
"""

import ast
from collections.abc import Iterable

# Names of core methods, so in every port; none is a builtin that a function would lose.
WORDS = (
    *("append", "clear", "close", "copy", "count", "endswith", "extend", "find", "format", "get"),
    *("index", "insert", "items", "join", "key", "keys", "lower", "pop", "popitem", "read"),
)
BY_NAME = {"AsyncRecorder", "Joining", "Off", "Recorder", "Signer", "decides", "join"}

Function = ast.FunctionDef | ast.Lambda


def short_parameters(
    trees: list[ast.Module], programs: Iterable[ast.Module] = (), *, constructors: bool = False
) -> None:
    """Rename them, in place, in all modules of the library; `constructors`: of all classes.

    What `programs` give by name keeps its name.
    """
    named = {
        node.arg or ""
        for tree in [*trees, *programs]
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
    }
    for tree in trees:
        _Shorten(named, constructors).visit(tree)


class _Shorten(ast.NodeVisitor):
    def __init__(self, named: set[str], constructors: bool) -> None:  # noqa: FBT001
        self.named = named
        self.constructors = constructors
        self.owner = ""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:  # ast's own
        outside, self.owner = self.owner, node.name
        self.generic_visit(node)
        self.owner = outside

    def visit_Lambda(self, node: ast.Lambda) -> None:  # ast's own
        self.generic_visit(node)
        self._shorten(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # ast's own
        outside, self.owner = self.owner, ""
        self.generic_visit(node)  # what stands within it first
        self.owner = outside
        public = node.name == "__init__" and self.owner[:1] != "_" and not self.constructors
        if not public and not {self.owner, node.name} & BY_NAME:
            self._shorten(node)

    def _shorten(self, node: Function) -> None:
        given = node.args
        if given.kwarg or given.vararg:
            return
        parts = list(ast.walk(node))
        taken = {part.id for part in parts if isinstance(part, ast.Name)}
        arguments = [part.arg for part in parts if isinstance(part, ast.arg)]
        taken.update(arguments)
        taken.update(part.name for part in parts if isinstance(part, ast.FunctionDef))
        words = [word for word in WORDS if word not in taken]
        names: dict[str, str] = {}
        for argument in given.args:
            name = argument.arg
            # One that a function within has too means another thing there.
            own = arguments.count(name) == 1 and name not in self.named
            if own and name != "self" and len(names) < len(words):
                names[name] = argument.arg = words[len(names)]
        for part in parts:
            if isinstance(part, ast.Name):
                part.id = names.get(part.id, part.id)
