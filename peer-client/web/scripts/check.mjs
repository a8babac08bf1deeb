// Fails if what is generated and committed is not what its sources give: generated types, and bundles.
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { bundle, bundledPath } from "./bundle.mjs";
import { generated, generatedPath } from "./generate.mjs";

/** The files below a folder, by their paths in it. */
function files(folder, below = folder) {
  return readdirSync(below)
    .map((name) => join(below, name))
    .flatMap((path) => (statSync(path).isDirectory() ? files(folder, path) : [relative(folder, path)]))
    .sort();
}

/** What differs between two folders. */
function drift(made, committed) {
  const [here, there] = [files(made), files(committed)];
  const missing = here.filter((path) => !there.includes(path));
  const extra = there.filter((path) => !here.includes(path));
  const changed = here
    .filter((path) => there.includes(path))
    .filter((path) => !readFileSync(join(made, path)).equals(readFileSync(join(committed, path))));
  return [...missing, ...extra, ...changed];
}

const temporary = mkdtempSync(join(tmpdir(), "understudy-"));
try {
  await bundle(temporary);
  const wrong = drift(temporary, bundledPath).map((path) => `dist/${path}`);
  if (readFileSync(generatedPath, "utf8") !== (await generated())) wrong.push("src/generated/api.ts");
  if (wrong.length > 0) {
    console.error(`not what the sources give: ${wrong.join(", ")}; run \`npm run generate\` and \`npm run bundle\``);
    process.exitCode = 1;
  }
} finally {
  rmSync(temporary, { recursive: true });
}
