// Writes dist/: the library as one ES module, and the arena page. The same sources give the same bytes.
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const folder = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** What of the arena is served as it is. */
const STATIC = new Set([".html", ".css", ".svg"]);

const common = {
  absWorkingDir: folder,
  bundle: true,
  format: "esm",
  target: "es2022",
  platform: "browser",
  minify: true,
  legalComments: "eof",
  charset: "utf8",
  logLevel: "warning",
};

/** Bundles into this folder, which it empties first. */
export async function bundle(into) {
  rmSync(into, { recursive: true, force: true });
  mkdirSync(into, { recursive: true });
  await build({ ...common, entryPoints: ["src/index.ts"], outfile: join(into, "understudy.js") });
  const arena = join(folder, "arena");
  if (!existsSync(join(arena, "main.ts"))) return;
  mkdirSync(join(into, "arena"), { recursive: true });
  await build({ ...common, entryPoints: ["arena/main.ts"], outfile: join(into, "arena", "main.js") });
  for (const name of readdirSync(arena).filter((name) => STATIC.has(extname(name)))) {
    copyFileSync(join(arena, name), join(into, "arena", name));
  }
}

/** Where the committed bundles stand. */
export const bundledPath = join(folder, "dist");

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await bundle(bundledPath);
}
