/** The page in plain values, for tests; nothing on the page uses it. */
import type { Scene } from "./canvas/stage";
import type { View } from "./geometry/view";
import type { Rle } from "./masks/rle";
import { rleOf } from "./masks/shape";
import type { Session } from "./session/session";
import type { Workspace } from "./tools/workspace";
import { maskAtHand } from "./ui/present";

export interface Parts {
  session: Session;
  space: Workspace;
  view: View;
  scene: Scene;
  numEverything: number;
  isSaved: boolean;
}

export function describe({ session, space, view, scene, numEverything, isSaved }: Parts): object {
  const { current, objects } = session;
  return {
    imageId: space.image?.id ?? null,
    view,
    points: current.points,
    box: current.box,
    chosen: current.chosen,
    name: current.name,
    predictedIou: current.answer?.predictedIou ?? [],
    objects: objects.map(({ id, name, hidden }) => ({ id, name, hidden })),
    region: space.ready?.region ?? null,
    embedded: space.ready !== null,
    hovers: scene.hover !== null,
    everything: numEverything,
    numThreads: space.decoder?.numThreads ?? 0,
    provider: space.decoder?.provider ?? null,
    saved: isSaved,
  };
}

/** The chosen mask at hand, its choice 0 to 2, or from 100 on a finished object's. */
export function maskOf({ current, objects }: Session, index?: number): Rle | null {
  const mask =
    index === undefined ? maskAtHand(current) : index >= 100 ? objects[index - 100]?.mask : current.answer?.masks[index];
  return mask ? rleOf(mask) : null;
}
