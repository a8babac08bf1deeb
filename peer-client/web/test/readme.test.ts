import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

test("the game in the README is the one that compiles, and is a small one", () => {
  const example = readFileSync("example/applause.ts", "utf8").trim();
  assert.ok(readFileSync("README.md", "utf8").includes(`\`\`\`ts\n${example}\n\`\`\``));
  assert.ok(example.split("\n").length < 80);
});
