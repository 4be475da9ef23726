/**
 * Keeps the page working without its server: the built files, and what was seen of the images.
 *
 * Embeddings are not kept here: the page holds them itself, in a store with a bound.
 */
const scope = self as unknown as ServiceWorkerGlobalScope;
const FILES = JSON.parse("__PRECACHE_FILES__") as string[];
const PAGE_CACHE = "segloop-page-__PRECACHE_VERSION__";
const SEEN_CACHE = "segloop-seen-1";
const MOST_PIXELS_KEPT = 40;
const NETWORK_PATIENCE_MS = 4000;

scope.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(PAGE_CACHE)
      .then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" }))))
      .then(() => scope.skipWaiting()),
  );
});

scope.addEventListener("activate", (event) => {
  event.waitUntil(removeOldPages().then(() => scope.clients.claim()));
});

async function removeOldPages(): Promise<void> {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith("segloop-page-") && name !== PAGE_CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

scope.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== scope.location.origin) return;
  const root = new URL("./", scope.location.href).pathname;
  const path = url.pathname.slice(root.length);
  if (path.startsWith("api/")) {
    if (path === "api/decoder" || /^api\/images\/[0-9a-f]+\/pixels$/.test(path)) {
      event.respondWith(fromCacheFirst(request));
    } else if (path === "api/model" || path === "api/images" || /^api\/images\/[0-9a-f]+$/.test(path)) {
      event.respondWith(fromNetworkFirst(request, SEEN_CACHE));
    }
  } else if (request.mode === "navigate") {
    // A token in the address must reach the server, which answers with a cookie and a redirection.
    if (!url.searchParams.has("token")) event.respondWith(pageFromNetworkFirst(request));
  } else {
    event.respondWith(fromPage(request));
  }
});

/** For what never changes behind one address. */
async function fromCacheFirst(request: Request): Promise<Response> {
  const cache = await caches.open(SEEN_CACHE);
  const kept = await cache.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.status === 200) {
    await cache.put(request, answer.clone()).catch(() => undefined); // a full disk must not break the page
    await boundPixels(cache, request.url);
  }
  return answer;
}

/** Keeps the newest pictures, and of decoder graphs the last alone. */
async function boundPixels(cache: Cache, justKept: string): Promise<void> {
  const keys = await cache.keys();
  const isDecoder = new URL(justKept).pathname.endsWith("/decoder");
  const decoders = keys.filter((key) => new URL(key.url).pathname.endsWith("/decoder"));
  const pixels = keys.filter((key) => key.url.endsWith("/pixels"));
  const old = pixels.slice(0, Math.max(0, pixels.length - MOST_PIXELS_KEPT));
  if (isDecoder) old.push(...decoders.filter((key) => key.url !== justKept));
  await Promise.all(old.map((key) => cache.delete(key)));
}

async function fromNetworkFirst(request: Request, cacheName: string): Promise<Response> {
  const cache = await caches.open(cacheName);
  try {
    const answer = await fetch(request, { signal: AbortSignal.timeout(NETWORK_PATIENCE_MS) });
    if (answer.status === 200) await cache.put(request, answer.clone()).catch(() => undefined);
    return answer;
  } catch (error) {
    const kept = await cache.match(request);
    if (kept) return kept;
    throw error;
  }
}

async function pageFromNetworkFirst(request: Request): Promise<Response> {
  try {
    return await fetch(request, { signal: AbortSignal.timeout(NETWORK_PATIENCE_MS) });
  } catch (error) {
    const kept = await (await caches.open(PAGE_CACHE)).match("./");
    if (kept) return kept;
    throw error;
  }
}

async function fromPage(request: Request): Promise<Response> {
  const kept = await (await caches.open(PAGE_CACHE)).match(request, { ignoreSearch: true });
  return kept ?? fromNetworkFirst(request, PAGE_CACHE);
}

interface ExtendableEventLike extends Event {
  waitUntil(promise: Promise<unknown>): void;
}
interface FetchEventLike extends ExtendableEventLike {
  request: Request;
  respondWith(answer: Promise<Response>): void;
}
/** The part of the scope used here, so that the page and the worker can be checked together. */
interface ServiceWorkerGlobalScope {
  location: Location;
  clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(kind: "install" | "activate", listener: (event: ExtendableEventLike) => void): void;
  addEventListener(kind: "fetch", listener: (event: FetchEventLike) => void): void;
}

export {};
