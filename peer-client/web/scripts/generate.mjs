// Writes src/generated/api.ts: the types of the lobby service's API, from its description.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import openapiTS, { astToString } from "openapi-typescript";

const folder = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** The text of the generated file. */
export async function generated() {
  const { components, ...rest } = JSON.parse(readFileSync(resolve(folder, "../../openapi/lobby-service.json"), "utf8"));
  // Bodies and messages. Which endpoint takes which is in service.ts.
  const description = { ...rest, paths: {}, components: { schemas: components.schemas } };
  const types = astToString(await openapiTS(JSON.stringify(description), { alphabetize: true }));
  return `// Generated from openapi/lobby-service.json by \`npm run generate\`: not to be edited.\n\n${types}`;
}

/** Where the generated file stands. */
export const generatedPath = resolve(folder, "src/generated/api.ts");

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(dirname(generatedPath), { recursive: true });
  writeFileSync(generatedPath, await generated());
}
