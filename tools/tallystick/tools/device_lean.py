"""The library that goes onto a board: what a recorder's program calls, and nothing nobody asks for.

A board keeps every name that it ever met in its heap, and all code that it loaded. So functions
that nothing in the library calls are left out, and every name that a board's program does not use
becomes a word that each MicroPython has in its ROM. Two names may become one word where they never
meet: in other modules, or in classes that do not inherit from one another.

What a program may ask for keeps its name: API_CLASSES and API_MODULES with their public names, and
whatever stands in the library as a string. A program that uses more of tallystick.evidence takes
the whole library (`tally library --whole`).
"""

import ast
import builtins
import io
import re
import select
import socket
import ssl
from collections.abc import Iterable
from hashlib import sha256

from tallystick.tools import device_names
from tallystick.tools.device_bundles import bundle
from tallystick.tools.device_parameters import short_parameters
from tallystick.tools.device_unused import shake

# What programs on a board meet: the recorder, its parts that they may bring themselves, its errors.
API_CLASSES = (
    *("Recorder", "Off", "Health", "Handle", "Accepted", "Uplink", "Files", "SystemClock"),
    *("Signer", "Counter", "TallyError", "Malformed", "Unverified", "CouldNotCheck"),
    *("TransportError", "KeyDriverError", "Claim", "Half", "Joining", "AsyncRecorder"),
)
API_MODULES = (
    *("tallystick/recorder/__init__.py", "tallystick/recorder/deciding.py"),
    *("tallystick/recorder/joining.py", "tallystick/recorder/provisioning.py"),
    "tallystick/recorder/aio.py",
    "tallystick/evidence/errors.py",
)
# Of objects that are not ours: what MicroPython's machine and umqtt have, and CPython does not.
_MACHINE = (
    *("scan", "readfrom", "readfrom_into", "writeto", "start", "stop", "init", "deinit", "any"),
    *("txdone", "feed", "value", "irq", "sock", "set_callback", "wait_msg", "ping", "ticks_ms"),
    *("ticks_us", "ticks_diff", "ticks_add", "sleep_ms", "sleep_us", "mem_free", "mem_alloc"),
    *("ioctl", "readblocks", "writeblocks", "kbd_intr", "ilistdir", "ipoll", "micropython"),
    *("create_task", "sleep", "cancel"),
)


# Of umqtt's MQTTClient, what recorder/mqtt_umqtt.py calls, and what that calls.
UMQTT = {"__init__", "set_callback", "wait_msg", "ping", "_recv_len"}


def umqtt(source: bytes) -> bytes:
    """umqtt.simple with nothing but these methods, and what they use."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "MQTTClient":
            node.body = [
                part
                for part in node.body
                if not isinstance(part, ast.FunctionDef) or part.name in UMQTT
            ]
    loads = [part for part in ast.walk(tree) if isinstance(getattr(part, "ctx", None), ast.Load)]
    names = {part.id for part in loads if isinstance(part, ast.Name)} | {"MQTTClient"}
    attributes = {part.attr for part in loads if isinstance(part, ast.Attribute)}
    return ast.unparse(_Used(names, attributes).visit(tree)).encode()


class _Used(ast.NodeTransformer):
    """Takes out what gives a name to something that nobody asks for."""

    def __init__(self, names: set[str], attributes: set[str]) -> None:
        self._names = names
        self._attributes = attributes

    def visit_Import(self, node: ast.Import) -> ast.AST | None:  # ast's own
        node.names = [one for one in node.names if (one.asname or one.name) in self._names]
        return node if node.names else None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:  # ast's own
        node.names = [one for one in node.names if (one.asname or one.name) in self._names]
        return node if node.names else None

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST | None:  # ast's own
        return self.generic_visit(node) if node.name in self._names else None

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:  # ast's own
        (target,) = node.targets
        kept = not isinstance(target, ast.Attribute) or target.attr in self._attributes
        return node if kept else None


def _foreign() -> frozenset[str]:
    """Names that objects which are not ours may be asked for."""
    objects: tuple[object, ...] = (
        *("", b"", bytearray(), 0, 0.0, [], {}, set(), (), object, memoryview(b"")),
        *(io.FileIO, io.StringIO, socket.socket, socket, ssl.SSLContext, ssl.SSLSocket),
        *(select.poll(), sha256(), OSError(), (None for _ in ())),
    )
    return frozenset(_MACHINE).union(dir(builtins), *(dir(one) for one in objects))


FOREIGN = _foreign()
_WORD = re.compile(r"[A-Za-z_]\w*")
# A name, names one after another, or a module's: what __import__, getattr and setattr are given.
_NAMES = re.compile(r"[A-Za-z_]\w*(?:[ ,.]+[A-Za-z_]\w*)*")


def lean(modules: dict[str, str], programs: Iterable[str] = ()) -> dict[str, str]:
    """Every module of a library, already slim (device_source.py): path below it to source.

    What the sources `programs` use beside the API keeps its name, and its module.
    """
    users = [ast.parse(source) for source in programs]
    trees = device_names.with_numbers(modules)
    for tree in trees.values():
        # What is said of a module is for people.
        tree.body = [node for node in tree.body if not _is_text(node)]
    kept = _kept(trees)
    for tree in users:
        kept.update(name for node in ast.walk(tree) for name in _names_of(node))
    bundle(trees, kept, {name for tree in users for name in _imports(tree)})
    shake(trees, kept)
    names = _Names(trees, kept).chosen()
    for tree in trees.values():
        _Rename(names).visit(tree)
    short_parameters(list(trees.values()), users, constructors=True)
    return {place: ast.unparse(tree) + "\n" for place, tree in trees.items()}


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _kept(trees: dict[str, ast.Module]) -> set[str]:
    """Names that stay what they are."""
    found = {*FOREIGN, *API_CLASSES, device_names.COROUTINE}
    for place, tree in trees.items():
        found.update(place.removesuffix(".py").split("/"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if _NAMES.fullmatch(node.value.strip()):
                    found.update(_WORD.findall(node.value))
            elif isinstance(node, ast.ClassDef) and node.name in API_CLASSES:
                found.update(name for name in _of_class(node) if name[:1] != "_")
            elif isinstance(node, ast.Import):
                found.update(part for alias in node.names for part in alias.name.split("."))
            elif isinstance(node, ast.ImportFrom) and (node.module or "")[:10] != "tallystick":
                found.update(alias.name for alias in node.names)
        if place in API_MODULES:
            found.update(name for name in _of_module(tree) if name[:1] != "_")
    return found


def _imports(tree: ast.Module) -> Iterable[str]:
    """Modules that a program may mean, by their dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _of_class(node: ast.ClassDef) -> set[str]:
    """What an object of the class has: methods, and whatever `self` is given."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef) and part is not node:
            found.add(part.name)
        elif isinstance(part, ast.Attribute) and getattr(part.value, "id", "") == "self":
            found.add(part.attr)
    for part in node.body:
        if isinstance(part, ast.Assign):
            found.update(
                name.id
                for target in part.targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            )
    return found


def _asked_in_body(node: ast.ClassDef) -> set[str]:
    """Names that are looked up while the class is made: defaults, decorators, what it is given."""
    looked: list[ast.AST] = []
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            looked += [*part.args.defaults, *part.decorator_list]
            looked += [one for one in part.args.kw_defaults if one is not None]
        else:
            looked.append(part)
    return {part.id for one in looked for part in ast.walk(one) if isinstance(part, ast.Name)}


def _of_module(tree: ast.Module) -> set[str]:
    """What the module defines or imports at its top."""
    found = set()
    for node in _top(tree.body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AugAssign):
            found.update(
                part.id
                for part in ast.walk(node)
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            )
    return found


def _top(body: list[ast.stmt]) -> Iterable[ast.stmt]:
    """The statements of a module, those in its branches too."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try):
                yield from _top(getattr(node, field, []))


# Other names.


class _Names:
    """Chooses a word for each name that may become another one."""

    def __init__(self, trees: dict[str, ast.Module], kept: set[str]) -> None:
        self._trees = trees
        self._defined: set[str] = set()
        self._scopes = [*self._of_modules(), *self._of_families()]
        self._free = {
            name for name in self._defined if name not in kept and not name.startswith("__")
        }

    def _of_modules(self) -> list[set[str]]:
        scopes = {place: _of_module(tree) for place, tree in self._trees.items()}
        for names in scopes.values():
            self._defined |= names
        for place, tree in self._trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Name):
                    scopes[place].add(node.id)
                elif isinstance(node, ast.ImportFrom):
                    scopes[place].update(alias.asname or alias.name for alias in node.names)
                    self._defined.update(alias.asname for alias in node.names if alias.asname)
                    found = scopes.get((node.module or "").replace(".", "/") + ".py")
                    if found is not None:
                        found.update(alias.name for alias in node.names)
        return self._joined(scopes)

    def _joined(self, scopes: dict[str, set[str]]) -> list[set[str]]:
        """A module whose __getattr__ asks another one has that one's names too."""
        found = list(scopes.values())
        for place, tree in self._trees.items():
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
                    for part in ast.walk(node):
                        if isinstance(part, ast.ImportFrom):
                            module = (part.module or "").replace(".", "/")
                            for alias in part.names:
                                other = scopes.get(f"{module}/{alias.name}.py", set())
                                found.append(scopes[place] | other)
        return found

    def _of_families(self) -> list[set[str]]:
        """Names of classes that inherit from one another, together."""
        classes = [
            node
            for tree in self._trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        ]
        family = {node.name: node.name for node in classes}

        def head(name: str) -> str:
            while family[name] != name:
                name = family[name]
            return name

        for node in classes:
            for base in node.bases:
                other = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
                if other in family:
                    family[head(node.name)] = head(other)
        found: dict[str, set[str]] = {}
        for node in classes:
            found.setdefault(head(node.name), set()).update(_of_class(node))
        for names in found.values():
            self._defined |= names
        for node in classes:
            # What the class's own body asks the module for, it must not find in the class.
            found[head(node.name)].update(_asked_in_body(node))
        return list(found.values())

    def chosen(self) -> dict[str, str]:
        """Old name to new; the most common first, each the first word that none near it has."""
        used: dict[str, int] = dict.fromkeys(self._free, 0)
        taken = set()
        for tree in self._trees.values():
            for node in ast.walk(tree):
                for name in _names_of(node):
                    taken.add(name)
                    if name in used:
                        used[name] += 1
        words = dict.fromkeys((*device_names.WORDS, *device_names.SHARED_WORDS))
        words = {word: None for word in words if word not in taken}
        near: dict[str, set[str]] = {name: set() for name in used}
        for scope in self._scopes:
            together = [name for name in scope if name in used]
            for name in together:
                near[name].update(together)
        chosen: dict[str, str] = {}
        for name in sorted(used, key=lambda one: (-len(near[one]), one)):
            around = {chosen[other] for other in near[name] if other in chosen}
            word = next((word for word in words if word not in around), None)
            if word is not None:
                chosen[name] = word
        return chosen


def _names_of(node: ast.AST) -> Iterable[str]:
    yield from device_names.names_in(node)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _WORD.findall(node.value)


class _Rename(ast.NodeTransformer):
    """Attributes, definitions, imports and the names that mean them; never a parameter."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names
        self.arguments: list[set[str]] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # ast's own
        node.name = self.names.get(node.name, node.name)
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        return self._within(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:  # ast's own
        return self._within(node)

    def _within(self, node: ast.FunctionDef | ast.Lambda) -> ast.AST:
        given = node.args
        given.defaults = [self.visit(one) for one in given.defaults]
        given.kw_defaults = [one and self.visit(one) for one in given.kw_defaults]
        own = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        self.arguments.append({one.arg for one in own if one is not None})
        if isinstance(node, ast.Lambda):
            node.body = self.visit(node.body)
        else:
            node.body = [self.visit(one) for one in node.body]
        self.arguments.pop()
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:  # ast's own
        node.name = self.names.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:  # ast's own
        if not any(node.id in one for one in self.arguments):
            node.id = self.names.get(node.id, node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:  # ast's own
        node.attr = self.names.get(node.attr, node.attr)
        return self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:  # ast's own
        node.name = self.names.get(node.name, node.name) if node.name else None
        return self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> ast.AST:  # ast's own
        node.name = self.names.get(node.name, node.name)
        node.asname = self.names.get(node.asname, node.asname) if node.asname else None
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:  # ast's own
        node.names = [self.names.get(name, name) for name in node.names]
        return node

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.AST:  # ast's own
        node.names = [self.names.get(name, name) for name in node.names]
        return node
