import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import openapiTS, { astToString, COMMENT_HEADER } from "openapi-typescript";
import { expect, it } from "vitest";

it("is made from the server's description as it is: else run `npm run api`", async () => {
  const description = new URL("../../openapi.json", import.meta.url);
  const made = COMMENT_HEADER + astToString(await openapiTS(description));
  expect(readFileSync(resolve(import.meta.dirname, "schema.d.ts"), "utf8")).toBe(made);
});
