import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { defaultClientConditions, defineConfig, type Plugin } from "vite";

/** Files of public/ that the page needs without a network; the build does not list them itself. */
const PUBLIC_FILES = ["icon.svg", "manifest.webmanifest"];

/** Tells the service worker which files were built, and a version that changes with any of them. */
function precache(): Plugin {
  return {
    name: "segloop-precache",
    enforce: "post",
    generateBundle(_, bundle) {
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") throw new Error("the service worker was not built");
      // The WebGPU runtime is large and opt-in: fetched when first asked for.
      const names = Object.keys(bundle).filter(
        (name) => name !== "sw.js" && !name.endsWith(".map") && !/asyncify|webgpu/.test(name),
      );
      const files = ["./", ...names.filter((name) => name !== "index.html"), ...PUBLIC_FILES].sort();
      const hash = createHash("sha256");
      for (const name of names.sort()) {
        const item = bundle[name]!;
        hash.update(name).update(item.type === "chunk" ? item.code : item.source);
      }
      worker.code = worker.code
        .replace("__PRECACHE_FILES__", JSON.stringify(files).replaceAll('"', '\\"'))
        .replace("__PRECACHE_VERSION__", hash.digest("hex").slice(0, 16));
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [precache()],
  // The runtime is fetched as files of its own: its threads are then workers of that file and not of ours.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: {
    outDir: resolve(import.meta.dirname, "../src/segloop/server/page"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rollupOptions: {
      input: { index: resolve(import.meta.dirname, "index.html"), sw: resolve(import.meta.dirname, "src/sw.ts") },
      output: {
        entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
      },
    },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8123" } },
});
