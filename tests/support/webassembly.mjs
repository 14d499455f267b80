// Runs device tests on MicroPython's WebAssembly build, under Node.
//   node webassembly.mjs <micropython.mjs> <folder of modules> '[{"name": ..., "functions": [...]}]'
// Each file of tests gets an interpreter of its own. The folder's files are copied into its file
// system, which is in memory; the harness and what it prints are the same as on a device
// (tests/device/_run.py).
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [program, folder, tests] = process.argv.slice(2);
const { loadMicroPython } = await import(pathToFileURL(program));

function copy(micropython, from, to) {
  micropython.FS.mkdir(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const source = join(from, entry.name);
    const target = `${to}/${entry.name}`;
    if (entry.isDirectory()) copy(micropython, source, target);
    else micropython.FS.writeFile(target, readFileSync(source));
  }
}

async function run(test, functions) {
  const micropython = await loadMicroPython({
    heapsize: 1 << 20,
    // Older ones look for it in the working folder.
    url: program.replace(/mjs$/, "wasm"),
    linebuffer: true,
    stdout: (line) => process.stdout.write(line + "\n"),
    stderr: (line) => process.stdout.write(line + "\n"),
  });
  copy(micropython, folder, "/device");
  // What this build lacks that every board's has: os.urandom, and errors of files by their usual
  // numbers (Emscripten raises WASI's, which the build's own module errno does not name).
  micropython.registerJsModule("node_random", { byte: () => randomBytes(1)[0] });
  micropython.runPython(`
import builtins, os, sys
import node_random
if not hasattr(os, "urandom"):
    os.urandom = lambda size: bytes([node_random.byte() for _ in range(size)])
NUMBERS = {2: 13, 20: 17, 28: 22, 29: 5, 31: 21, 44: 2, 51: 28, 54: 20, 55: 39}
def usual(function):
    def call(*args):
        try:
            return function(*args)
        except OSError as error:
            raise OSError(NUMBERS.get(error.args[0], error.args[0]))
    return call
for name in ("listdir", "mkdir", "remove", "rename", "rmdir", "stat", "unlink"):
    setattr(os, name, usual(getattr(os, name)))
builtins.open = usual(builtins.open)
print("#VERSION", sys.implementation[1][0], sys.implementation[1][1])
sys.path.insert(0, "/device")
import _run
# The heap is large here, and a collection looks at all of it.
_run.GC_THRESHOLD_BYTES = 1 << 18
_run.run(${JSON.stringify(test)}, ${JSON.stringify(functions)})
`);
}

for (const { name, functions } of JSON.parse(tests)) {
  process.stdout.write(`#FILE ${name}\n`);
  try {
    await run(name, functions);
  } catch (error) {
    process.stdout.write(`${error}\n`);
  }
}
