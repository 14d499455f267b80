// Runs device tests on MicroPython's WebAssembly build, under Node.
//   node webassembly.mjs <micropython.mjs> <folder of modules> <test module> <function>...
// The folder's files are copied into the interpreter's own file system; the harness and what it
// prints are the same as on a device (tests/device/_run.py).
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [program, folder, test, ...names] = process.argv.slice(2);
const { loadMicroPython } = await import(pathToFileURL(program));
const micropython = await loadMicroPython({
  heapsize: 1 << 20,
  linebuffer: true,
  stdout: (line) => process.stdout.write(line + "\n"),
  stderr: (line) => process.stderr.write(line + "\n"),
});

function copy(from, to) {
  micropython.FS.mkdir(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const source = join(from, entry.name);
    const target = `${to}/${entry.name}`;
    if (entry.isDirectory()) copy(source, target);
    else micropython.FS.writeFile(target, readFileSync(source));
  }
}

copy(folder, "/device");
micropython.runPython(`
import sys
print("#VERSION", sys.implementation[1][0], sys.implementation[1][1])
sys.path.insert(0, "/device")
from _run import run
run(${JSON.stringify(test)}, ${JSON.stringify(names)})
`);
