"""Fewer names in the device's library: numbers for constants, one set of names for private helpers.

MicroPython keeps every name that it ever met in its heap, in tables that double when they are full,
and each module keeps its own names in another. So integers stand in place of their names, those
that nothing asks for any more are left out, and what only its own module names has short names that
all modules share.
"""

import ast

from tallystick.tools.device_parameters import short_parameters

# The decorator that coroutines have meanwhile (device_source.py).
COROUTINE = "_a_coroutine"
# What a program on a device, or a test there, asks a module for by name.
KEPT = {
    *("ES256", "EDDSA", "RETIRED", "LOST", "COMPROMISED"),
    *("CHECKPOINT_BYTES_MAX", "DEPTH_MAX", "ORDERS_MAX", "_expand", "_orders", "L", "_ledger"),
    COROUTINE,
}
# Names that every MicroPython has in its ROM, of its own methods, errors and functions.
WORDS = (
    *("isalpha", "isdigit", "islower", "isspace", "isupper", "lstrip", "popitem", "rindex"),
    *("rsplit", "setdefault", "swapcase", "to_bytes", "upper", "lower", "endswith", "startswith"),
    *("rfind", "rstrip", "strip", "format", "count", "index", "insert", "extend", "copy"),
    *("difference", "discard", "intersection", "isdisjoint", "issubset", "issuperset", "union"),
)
# The same, for what several modules of the library share.
SHARED_WORDS = (
    *("ArithmeticError", "AssertionError", "BaseException", "EOFError", "GeneratorExit"),
    *("IndentationError", "KeyboardInterrupt", "LookupError", "NameError", "SyntaxError"),
    *("NotImplementedError", "OverflowError", "RuntimeError", "SystemExit", "ZeroDivisionError"),
    *("callable", "chr", "compile", "complex", "divmod", "enumerate", "eval", "exec", "filter"),
    *("frozenset", "globals", "hex", "issubclass", "iter", "locals", "memoryview", "oct", "ord"),
    *("reversed", "round", "slice", "staticmethod", "classmethod", "symmetric_difference"),
    *("argv", "byteorder", "exc_info", "maxsize", "platform", "print_exception", "stderr"),
    *("stdin", "stdout", "version_info", "mem_alloc", "mem_free", "threshold", "isenabled"),
    *("calcsize", "pack_into", "unpack", "unpack_from", "heappop", "heappush", "heapify", "imag"),
    *("real", "partition", "rpartition", "center", "splitlines", "setter", "getter", "throw"),
    *("acos", "asin", "atan", "atan2", "ceil", "copysign", "cos", "degrees", "exp", "fabs"),
    *("floor", "fmod", "frexp", "isfinite", "isinf", "isnan", "ldexp", "modf", "radians", "sin"),
    *("sqrt", "tan", "trunc", "dumps", "loads", "dump", "search", "match", "group", "readinto"),
    *("readlines", "getvalue", "StringIO", "BytesIO", "ticks_us", "localtime", "gmtime", "mktime"),
    *("ilistdir", "chdir", "mount", "umount", "unregister", "ipoll", "recvfrom", "sendto"),
    *("setsockopt", "makefile", "getaddrinfo", "calcsize", "namedtuple", "popleft", "appendleft"),
)
# A larger number would be an object at every place where it is used, instead of one.
NUMBER_MAX = 1 << 30


def fewer_names(modules: dict[str, str]) -> dict[str, str]:
    """Every module of a library: path below it to source."""
    trees = with_numbers(modules)
    # Read once, before any name is changed: what is asked for by its old name keeps it.
    facts = {place: _Facts(tree) for place, tree in trees.items()}
    for place, own in trees.items():
        others = [fact for other, fact in facts.items() if other != place]
        asked = KEPT.union(*(fact.asked for fact in others))
        if not place.endswith("__init__.py"):
            _drop(own, facts[place].loaded | asked)
        elsewhere = set().union(*(fact.loaded | fact.defined for fact in others))
        _share(own, asked, elsewhere, set().union(*(fact.bases for fact in others)))
    _share_all(trees)
    short_parameters(list(trees.values()))
    return {place: ast.unparse(tree) + "\n" for place, tree in trees.items()}


def with_numbers(modules: dict[str, str]) -> dict[str, ast.Module]:
    """Every module read, with integers in place of their names."""
    trees = {place: ast.parse(source) for place, source in modules.items()}
    numbers = {_module(place): integers(tree) for place, tree in trees.items()}
    for place, tree in trees.items():
        _Inline(_module(place), numbers).visit(tree)
    return trees


def _module(place: str) -> str:
    return place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def integers(tree: ast.Module) -> dict[str, int]:
    """Capital names that the module gives a small integer, once and for all."""
    stored = [
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    found: dict[str, int] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            value = _value(node.value, found)
            small = value is not None and -NUMBER_MAX < value < NUMBER_MAX
            if name.isupper() and small and stored.count(name) == 1:
                found[name] = value or 0
    return found


def _value(node: ast.expr, known: dict[str, int]) -> int | None:
    """The integer that an expression of numbers and known names is, if it is one."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, known), _value(node.right, known)
        if left is not None and right is not None:
            if isinstance(node.op, ast.Add):
                return left + right
            if isinstance(node.op, ast.Mult):
                return left * right
            if isinstance(node.op, ast.LShift):
                return left << right
    return None


class _Inline(ast.NodeTransformer):
    def __init__(self, module: str, numbers: dict[str, dict[str, int]]) -> None:
        self.numbers = numbers
        self.known = dict(numbers[module])
        self.modules: dict[str, dict[str, int]] = {}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:  # ast's own
        names = self.numbers.get(node.module or "", {})
        kept = []
        for alias in node.names:
            name = alias.asname or alias.name
            self.modules[name] = self.numbers.get(f"{node.module}.{alias.name}", {})
            if alias.name in names:
                self.known[name] = names[alias.name]
            else:
                kept.append(alias)
        node.names = kept
        return node if kept else ast.Pass()

    def visit_Name(self, node: ast.Name) -> ast.AST:  # ast's own
        if isinstance(node.ctx, ast.Load) and node.id in self.known:
            return ast.Constant(self.known[node.id])
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:  # ast's own
        if isinstance(node.value, ast.Name):
            value = self.modules.get(node.value.id, {}).get(node.attr)
            if value is not None:
                return ast.Constant(value)
        return self.generic_visit(node)


class _Facts:
    """What a module says of names, for the other modules to respect."""

    def __init__(self, tree: ast.Module) -> None:
        self.asked = _asked(tree)
        self.loaded = _loaded(tree)
        self.defined = _defined(tree)
        self.bases = _bases(list(ast.walk(tree)))


def _asked(tree: ast.Module) -> set[str]:
    """Every name that this module imports, or asks an object or module for."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)  # what __import__ is told to bring
    return found


def _loaded(tree: ast.Module) -> set[str]:
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _defined(tree: ast.Module) -> set[str]:
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return found | {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _drop(tree: ast.Module, asked: set[str]) -> None:
    """Leave out what nobody asks for any more: integers, imports, private functions, classes."""
    unasked = set(integers(tree)) - asked
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            node.names = [alias for alias in node.names if (alias.asname or alias.name) in asked]
            if not node.names:
                continue
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            if _private(node.name) and node.name not in asked:
                continue
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in unasked:
            continue
        kept.append(node)
    tree.body = kept


def _share(tree: ast.Module, asked: set[str], elsewhere: set[str], bases: set[str]) -> None:
    """Give what only this module names the short names that all modules share.

    Those are its helpers and tables and, unless its classes stand in a line of inheritance with
    those of other modules, the private parts of its objects.
    """
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            own.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            own.append(node.targets[0].id)
    # What this module asks another thing for by the same name is that thing's.
    attributes = {part.attr for part in ast.walk(tree) if isinstance(part, ast.Attribute)}
    own = [name for name in own if _private(name) or name.isupper()]
    own = [name for name in own if name not in attributes]
    free = [name for name in own if name not in asked | arguments]
    if _alone(tree, bases):
        # What is private to objects may also be something that another module defines: then it is
        # asked of that module here, or of these objects there.
        parts = [part for part in ast.walk(tree) if isinstance(part, ast.Attribute)]
        inner = [part.attr for part in parts if _private(part.attr)]
        methods = [part.name for part in ast.walk(tree) if isinstance(part, ast.FunctionDef)]
        inner += [name for name in methods if _private(name)]
        free += [name for name in inner if name not in asked | arguments | elsewhere | set(own)]
    free = list(dict.fromkeys(free))
    taken = {part.attr for part in ast.walk(tree) if isinstance(part, ast.Attribute)}
    taken |= {part.id for part in ast.walk(tree) if isinstance(part, ast.Name)}
    taken |= _defined(tree) | asked | arguments
    words = [
        *(word for word in WORDS if word not in taken),
        *(f"_f{at}" for at in range(len(free))),
    ]
    names = dict(zip(free, words, strict=False))
    for part in ast.walk(tree):
        _rename(part, names)


def _share_all(trees: dict[str, ast.Module]) -> None:
    """Give the private names that are left words of the ROM, the same ones in all modules."""
    parts = [part for tree in trees.values() for part in ast.walk(tree)]
    kept = KEPT | {_module(place).rsplit(".", 1)[-1] for place in trees}
    kept |= {
        part.value for part in parts if isinstance(part, ast.Constant) and type(part.value) is str
    }
    kept |= {part.arg for part in parts if isinstance(part, ast.arg)}
    found = [name for part in parts for name in names_in(part)]
    free = list(dict.fromkeys(name for name in found if _private(name) and name not in kept))
    words = [word for word in SHARED_WORDS if word not in kept.union(found)]
    names = dict(zip(free, words, strict=False))
    for part in parts:
        _rename(part, names)


def names_in(part: ast.AST) -> list[str]:
    """The names that this one node holds."""
    if isinstance(part, ast.alias):
        return [part.asname or part.name, part.name]
    if isinstance(part, ast.Global):
        return list(part.names)
    fields = (getattr(part, field, None) for field in ("id", "attr", "name", "arg"))
    return [name for name in fields if isinstance(name, str)]


def _rename(part: ast.AST, names: dict[str, str]) -> None:
    if isinstance(part, ast.Name):
        part.id = names.get(part.id, part.id)
    elif isinstance(part, ast.Attribute):
        part.attr = names.get(part.attr, part.attr)
    elif isinstance(part, ast.FunctionDef | ast.ClassDef | ast.alias):
        part.name = names.get(part.name, part.name)
        if isinstance(part, ast.alias) and part.asname:
            part.asname = names.get(part.asname, part.asname)
    elif isinstance(part, ast.Global):
        part.names = [names.get(name, name) for name in part.names]


def _private(name: str) -> bool:
    return name[:1] == "_" and name[1:2] != "_"


def _alone(tree: ast.Module, bases: set[str]) -> bool:
    """Whether no class of the module inherits from another module's, or the other way round."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    own = {node.name for node in classes} | {"Exception", "object"}
    return not any(
        node.name in bases or any(name not in own for name in _bases([node])) for node in classes
    )


def _bases(nodes: list[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                found.add(base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", ""))
    return found
