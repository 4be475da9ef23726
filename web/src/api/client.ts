/**
 * Thin functions over the server's HTTP API; their types are generated from its description.
 */
import createClient from "openapi-fetch";
import type { components } from "./schema";

export type Model = components["schemas"]["Model"];
export type Image = components["schemas"]["Image"];
export type ServerMask = components["schemas"]["Mask"];
export type SegmentRequest = components["schemas"]["SegmentRequest"];
export type EverythingRequest = Partial<components["schemas"]["EverythingRequest"]>;
export type EverythingLine =
  | components["schemas"]["ProgressLine"]
  | components["schemas"]["MaskLine"]
  | components["schemas"]["EndLine"]
  | components["schemas"]["ErrorLine"];

/** The server said no, or could not be reached; the message is one sentence for a person. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

const root = new URL("./", document.baseURI).href.replace(/\/$/, "");
const api = createClient<import("./schema").paths>({ baseUrl: root, fetch: (request) => reach(request) });

async function reach(request: RequestInfo, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(request, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.", 0);
  }
}

function taken<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data !== undefined) return answer.data;
  throw new ApiError(sentence(answer.error, answer.response), answer.response.status);
}

function sentence(error: unknown, response: Response): string {
  if (typeof error === "object" && error !== null && "detail" in error) return String(error.detail);
  return `The server answered ${response.status}.`;
}

async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  const error: unknown = await response.json().catch(() => null);
  throw new ApiError(sentence(error, response), response.status);
}

export async function getModel(): Promise<Model> {
  return taken(await api.GET("/api/model")) as Model; // the generic client takes pairs for lists
}

export async function listImages(): Promise<Image[]> {
  return taken(await api.GET("/api/images"));
}

export async function uploadImage(file: Blob, name: string): Promise<Image> {
  const address = `${root}/api/images?name=${encodeURIComponent(name)}`;
  const headers = { "content-type": "application/octet-stream" };
  const response = await checked(await reach(address, { method: "POST", body: file, headers }));
  return (await response.json()) as Image;
}

export function pixelsUrl(imageId: string): string {
  return `${root}/api/images/${imageId}/pixels`;
}

/** The decoder graph behind the address that the model names. */
export async function getDecoder(url: string): Promise<ArrayBuffer> {
  const response = await checked(await reach(`${root}${new URL(url, root).pathname}${new URL(url, root).search}`));
  return response.arrayBuffer();
}

export type Region = readonly [number, number, number, number];

export async function getEmbedding(
  imageId: string,
  model: string,
  region: Region | null,
  signal: AbortSignal,
): Promise<ArrayBuffer> {
  const query = new URLSearchParams({ model });
  if (region) query.set("region", region.join(","));
  const address = `${root}/api/images/${imageId}/embedding?${query.toString()}`;
  return (await checked(await reach(address, { signal }))).arrayBuffer();
}

export async function segmentImage(imageId: string, body: SegmentRequest): Promise<ServerMask[]> {
  const params = { path: { id: imageId } };
  return taken(await api.POST("/api/images/{id}/segment", { params, body })).masks as ServerMask[];
}

/** Everything in an image, line by line as the server finds it. Aborting the signal stops the server's work. */
export async function* everythingInImage(
  imageId: string,
  body: EverythingRequest,
  signal: AbortSignal,
): AsyncGenerator<EverythingLine> {
  const response = await checked(
    await reach(`${root}/api/images/${imageId}/everything`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    }),
  );
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : (lines.pop() ?? "");
    for (const line of lines) if (line.trim()) yield JSON.parse(line) as EverythingLine;
    if (done) return;
  }
}
