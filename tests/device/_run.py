# Runs on the device: the functions of one test file, each with a line that the host reads.
#   micropython -m _run test_file [function ...]
# A boot (`boot_*`) is given the folder of its device, which lasts from one process to the next.
# Prints `#RESULT <function> <ok|failed> <free bytes of heap, -1 where unknown>`; a traceback
# stands before the line of the function that it belongs to.
import gc
import sys

# Collecting early keeps the heap in one piece: loading modules into a full one leaves holes.
GC_THRESHOLD_BYTES = 4096
DEVICE = "device"


def run(module_name: str, names: list[str]) -> None:
    gc.threshold(GC_THRESHOLD_BYTES)  # type: ignore[attr-defined]  # MicroPython's own
    module = __import__(module_name)
    for name in names or sorted(n for n in dir(module) if n.startswith("test_")):
        gc.collect()
        outcome = "failed"
        try:
            if name.startswith("boot_"):
                getattr(module, name)(DEVICE)
            else:
                getattr(module, name)()
            outcome = "ok"
        except Exception as error:  # noqa: BLE001 -- whatever a test raises is its failure
            sys.print_exception(error)  # type: ignore[attr-defined]  # MicroPython's own
        gc.collect()
        print("#RESULT", name, outcome, gc.mem_free())  # type: ignore[attr-defined]  # MicroPython's own


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
