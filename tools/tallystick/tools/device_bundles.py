"""Modules of a board's library that always lie in its heap together, as one file each.

A module costs some 270 bytes of heap beside its code: its object, its table of names, its dotted
name and its path, and the names that it takes from its neighbours. So what is loaded together and
never forgotten alone becomes one module, under the name of the first.

A module is left as it is where a program may import it (device_lean.API_MODULES) and where the
library forgets it by name. One of a bundle may find names when it is asked (`__getattr__`).
"""

import ast
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# The first is the host. A name that the library does not have is passed over.
BUNDLES = (
    ("recorder/files", "recorder/health", "recorder/recorder"),
    ("recorder/core", "recorder/frames", "recorder/journal", "evidence/tree"),
    ("evidence/cbor", "evidence/_dec", "evidence/digest"),
    (
        *("recorder/ledger", "recorder/checkpointing", "recorder/buffer", "recorder/clock"),
        *("evidence/valuewriter", "evidence/value", "evidence/decisionwriter", "evidence/number"),
    ),
    (
        *("recorder/linking", "recorder/freeing", "recorder/stretches", "recorder/sending"),
        *("recorder/downlink", "recorder/link", "recorder/plain", "evidence/segmentwriter"),
    ),
    ("recorder/mqtt_umqtt", "recorder/mqtt_packet"),
    ("hw/atecc608", "hw/atecc608_chip", "hw/counter", "hw/atecc608_counter"),
)
# Tables of modules to load, not to forget.
LOADED = ("LASTING", "KEPT_OF_DRIVERS", "DRIVERS")
ROOT = "tallystick."


@dataclass
class _Module:
    """One member: its tree, and what its top-level names are called in the bundle."""

    name: str
    tree: ast.Module
    host: str = ""
    names: dict[str, str] = field(default_factory=dict)
    # Modules that it needs while it is made.
    needs: set[str] = field(default_factory=set)

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[2]


def bundle(trees: dict[str, ast.Module], kept: set[str], imported: Iterable[str] = ()) -> None:
    """Put them together, in place; names in `kept` are not changed.

    Modules in `imported` stay what they are: a program imports them.
    """
    modules = {_dotted(place): _Module(_dotted(place), tree) for place, tree in trees.items()}
    alone = {*imported, *_forgotten(trees.values())}
    made = []
    for group in BUNDLES:
        names = [ROOT + place.replace("/", ".") for place in group]
        members = [modules[name] for name in names if name in modules]
        members = [one for one in members if one.name not in alone]
        members = _name_apart(members, kept)
        for one in members:
            one.host = members[0].name
            one.needs = set(_needs(one.tree))
        made.append(members)
    for module in modules.values():
        _Rewrite(module, modules).run()
    for members in made:
        if members:
            members[0].tree.body = _joined(members)
        for one in members[1:]:
            del trees[one.name.replace(".", "/") + ".py"]


def _dotted(place: str) -> str:
    return place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _asked_of(module: _Module, name: str) -> str:
    """The module that this one's __getattr__ has the name from; "" where it has it itself."""
    if name in module.names or name in _imported(module.tree):
        return ""
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            for part in ast.walk(node):
                if isinstance(part, ast.ImportFrom):
                    return f"{part.module}.{part.names[0].name}"
    return ""


def _forgotten(trees: Iterable[ast.Module]) -> Iterator[str]:
    """Modules that the library names in a text, other than to load them."""
    for tree in trees:
        for node in tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(target, ast.Name) and target.id in LOADED:
                continue
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield ROOT + part.value.removeprefix(ROOT)


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(ast.Module([*_top(tree.body)], [])):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module without what stands within its functions and classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield ast.FunctionDef(node.name, node.args, [], [], lineno=0)
        elif isinstance(node, ast.ClassDef):
            yield ast.ClassDef(node.name, [], [], [], [])
        elif isinstance(node, ast.If | ast.Try):
            for part in ("body", "orelse", "finalbody"):
                yield from _top(getattr(node, part, []))
        else:
            yield node


def _needs(tree: ast.Module) -> Iterator[str]:
    for node in _top(tree.body):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported(tree: ast.Module) -> dict[str, str]:
    """Names that the module itself has from others, and whose they are."""
    found = {}
    for node in _top(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = node.module if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                found[alias.asname or alias.name] = f"{source}.{alias.name}"
    return found


def _name_apart(members: list[_Module], kept: set[str]) -> list[_Module]:
    """Names that mean two things in a bundle get their module's name; who can be in it."""
    found: list[_Module] = []
    names: dict[str, str] = dict.fromkeys(dir(builtins), "")
    for one in members:
        defined = set(_defined(one.tree))
        imported = _imported(one.tree)
        # The same thing under the same name is no clash.
        new = {name: f"{one.name}.{name}" for name in defined} | imported
        clashes = {name for name, whose in new.items() if names.get(name, whose) != whose}
        # What another member's functions call something of their own, would hide it from them.
        clashes |= {
            name
            for two in members
            if two is not one
            for part in ast.walk(two.tree)
            if isinstance(part, ast.FunctionDef | ast.Lambda)
            for name in defined & _own(part)
        }
        if clashes - defined or clashes & kept:
            continue
        one.names = {name: f"{name}__{one.stem}" if name in clashes else name for name in defined}
        names |= {name: whose for name, whose in new.items() if name not in clashes}
        found.append(one)
    return found


class _Rewrite(ast.NodeTransformer):
    """One module's imports and names, as they are once bundles are made."""

    def __init__(self, module: _Module, modules: dict[str, _Module]) -> None:
        self.module = module
        self.modules = modules
        # Local names of bundled modules, and of what was imported from them here.
        self.aliases: dict[str, _Module] = {}
        self.renamed: dict[str, str] = dict(module.names) if module.host else {}
        self.arguments: list[set[str]] = []
        # What the functions around the place import for themselves.
        self.inner: list[dict[str, str]] = []

    def run(self) -> None:
        """Rewrite it."""
        for node in ast.walk(self.module.tree):
            if isinstance(node, ast.ImportFrom):
                self._note(node)
        for statement in _top(self.module.tree.body):
            self.renamed.update(self._taken(statement))
        self.visit(self.module.tree)
        for node in ast.walk(self.module.tree):
            if getattr(node, "body", None) == [] and not isinstance(node, ast.Module):
                node.body = [ast.Pass()]  # type: ignore[attr-defined]  # it has one

    def _note(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            found = self.modules.get(f"{node.module}.{alias.name}")
            if found is not None and found.host:
                self.aliases[alias.asname or alias.name] = found

    def _taken(self, node: ast.AST) -> dict[str, str]:
        """Names that this import takes from a neighbour in the bundle, and what they are called."""
        found: dict[str, str] = {}
        source = self.modules.get(getattr(node, "module", None) or "")
        if not isinstance(node, ast.ImportFrom) or source is None:
            return found
        for alias in node.names:
            near = source.host and source.host == self.module.host
            if near and not _asked_of(source, alias.name):
                found[alias.asname or alias.name] = source.names.get(alias.name, alias.name)
        return found

    def _called(self, name: str) -> str:
        for names in reversed(self.inner):
            if name in names:
                return names[name]
        return self.renamed.get(name, name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt] | None:
        source = self.modules.get(node.module or "")
        own = self.module.host
        if source is not None and source.host:
            if source.host == own:
                return [
                    ast.ImportFrom(_asked_of(source, alias.name), [alias], 0)
                    for alias in node.names
                    if _asked_of(source, alias.name)
                ]
            node.module = source.host
            for alias in node.names:
                new = source.names.get(alias.name, alias.name)
                if new != alias.name:
                    alias.asname = alias.asname or alias.name
                alias.name = new
            return node
        made: list[ast.stmt] = []
        for alias in node.names:
            found = self.modules.get(f"{node.module}.{alias.name}")
            package, name = node.module, alias.name
            if found is not None and found.host:
                if found.host == own:
                    continue
                package, _, name = found.host.rpartition(".")
            kept = alias.asname or (alias.name if name != alias.name else None)
            made.append(ast.ImportFrom(package, [ast.alias(name, kept)], 0))
        return made

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:  # ast's own
        found = self.aliases.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if found is None or self._is_argument(getattr(node.value, "id", "")):
            return self.generic_visit(node)
        new = found.names.get(node.attr, node.attr)
        if found.host == self.module.host:
            if _asked_of(found, node.attr):
                message = (
                    f"{self.module.name} asks {found.name} for {node.attr}, which it finds late"
                )
                raise ValueError(message)
            return ast.Name(new, node.ctx)
        node.attr = new
        return node

    def _is_argument(self, name: str) -> bool:
        return any(name in one for one in self.arguments)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # ast's own
        if not self.arguments:
            node.name = self.renamed.get(node.name, node.name)
        return self._within(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:  # ast's own
        return self._within(node)

    def _within(self, node: ast.FunctionDef | ast.Lambda) -> ast.AST:
        given = node.args
        given.defaults = [self.visit(one) for one in given.defaults]
        given.kw_defaults = [one and self.visit(one) for one in given.kw_defaults]
        self.arguments.append(_own(node))
        taken: dict[str, str] = {}
        for part in ast.walk(node):
            taken.update(self._taken(part))
        self.inner.append(taken)
        if isinstance(node, ast.Lambda):
            node.body = self.visit(node.body)
        else:
            node.decorator_list = [self.visit(one) for one in node.decorator_list]
            body: list[ast.stmt] = []
            for one in node.body:
                made = self.visit(one)
                body += made if isinstance(made, list) else [made] if made is not None else []
            node.body = body
        self.arguments.pop()
        self.inner.pop()
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:  # ast's own
        if not self.arguments:
            node.name = self.renamed.get(node.name, node.name)
        # Its methods are no functions of the module.
        self.arguments.append(set())
        self.generic_visit(node)
        self.arguments.pop()
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:  # ast's own
        if not self._is_argument(node.id):
            node.id = self._called(node.id)
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:  # ast's own
        if node.name and not self._is_argument(node.name):
            node.name = self._called(node.name)
        return self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> ast.AST:  # ast's own
        node.names = [self._called(name) for name in node.names]
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:  # ast's own
        # A table of modules to load.
        if isinstance(node.value, str):
            found = self.modules.get(ROOT + node.value.removeprefix(ROOT))
            if found is not None and found.host:
                whole = node.value.startswith(ROOT)
                return ast.Constant(found.host if whole else found.host.removeprefix(ROOT))
        return node


def _own(node: ast.FunctionDef | ast.Lambda) -> set[str]:
    """What a function is given or gives a value: its own names, whatever the module calls so."""
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    found = {one.arg for one in every if one is not None}
    elsewhere: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.add(part.id)
        elif isinstance(part, ast.ExceptHandler) and part.name:
            found.add(part.name)
        elif isinstance(part, ast.Global):
            elsewhere.update(part.names)
    return found - elsewhere


def _joined(members: list[_Module]) -> list[ast.stmt]:
    """The bodies, each after those that it needs while it is made; an import once."""
    body: list[ast.stmt] = []
    seen: set[str] = set()
    waiting = list(members)
    while waiting:
        names = {one.name for one in waiting}
        ready = [one for one in waiting if not one.needs & (names - {one.name})] or waiting[:1]
        for node in ready[0].tree.body:
            text = ast.dump(node) if isinstance(node, ast.Import | ast.ImportFrom) else ""
            if not text or text not in seen:
                body.append(node)
            seen.add(text)
        waiting.remove(ready[0])
    return body
