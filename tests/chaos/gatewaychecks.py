"""The oracle for gateways: what they promised is there, told to all alike, and truly receipted."""

from chaos.parts import Wrong
from chaos.reading import Gateway, Notary
from chaos.trees import Tree, root_by_path
from chaos.truth import Truth
from tallystick.evidence import cbor, keys, receipt


def check_receipts(gateway: Gateway, notaries: list[Notary]) -> int:
    """What validators answered is in their logs, at that index and no other."""
    trees = {notary.name: Tree(notary.leaves) for notary in notaries}
    logs = {notary.name: notary for notary in notaries}
    for name, statement, data in gateway.receipts:
        given = receipt.parse(data)
        notary = logs[name]
        if given.size > trees[name].size or notary.statements[given.index] != statement:
            raise Wrong(f"{name}: index {given.index}, of a receipt, is another statement's")
        found = root_by_path(notary.leaves[given.index], given.index, given.size, given.path)
        if found != trees[name].root(given.size):
            raise Wrong(f"{name}: the receipt of index {given.index} is not of its log")
    return len(gateway.receipts)


def check_custody(gateway: Gateway, truth: Truth) -> None:
    """Whatever a receipt that reached a device names."""
    for log, promises in truth.promises.items():
        for promise in promises:
            here = (log, promise.to, promise.root) in gateway.heads
            if promise.gateway == gateway.name and not here:
                raise Wrong(
                    f"{gateway.name}: it gave a custody receipt for {log[1].hex()} up to "
                    f"{promise.to}, and does not have it"
                )


def check_gateway_log(gateway: Gateway, notaries: list[Notary], key: str) -> None:
    """All validators heard the one log that it has, to its end."""
    tree = Tree(gateway.leaves)
    own = keys.from_cose_key(cbor.decode(bytes.fromhex(key))).thumbprint()
    for notary in notaries:
        sizes = []
        for other, size, root in notary.gateway_heads:
            if other == own:
                sizes.append(size)
                if size > tree.size or tree.root(size) != root:
                    raise Wrong(f"{gateway.name}: {notary.name} heard another log of size {size}")
        if max(sizes, default=0) != tree.size:
            raise Wrong(f"{gateway.name}: {notary.name} heard {max(sizes, default=0)} segments")
