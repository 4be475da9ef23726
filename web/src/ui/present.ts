/** What the panel and the toolbar show of a session. */
import { objectColor } from "../masks/colors";
import type { Shape } from "../masks/shape";
import type { Answer, CurrentObject, Session } from "../session/session";
import type { Panel } from "./panel";
import type { Action } from "./toolbar";

/** The mask of the object at hand, null before its first answer. */
export function maskAtHand({ answer, chosen }: CurrentObject): Shape | null {
  return answer?.masks[chosen] ?? null;
}

/** The mask at hand in words; empty where there is none. */
export function factsOf(current: CurrentObject): string {
  const mask = maskAtHand(current);
  if (!mask) return "";
  const percent = (100 * mask.area) / (mask.width * mask.height);
  const predictedIou = current.answer!.predictedIou[current.chosen]!;
  return `Mask of ${percent.toFixed(percent < 10 ? 1 : 0)}% of the image, predicted IoU ${predictedIou.toFixed(2)}`;
}

export function panelState({ current, objects }: Session): Parameters<Panel["show"]>[0] {
  return {
    choices: current.answer ? choicesOf(current.answer) : [],
    chosen: current.chosen,
    facts: factsOf(current),
    objects: objects.map(({ id, name, hidden }) => ({ id, name, hidden, color: objectColor(id) })),
  };
}

type Choice = { mask: Shape; predictedIou: number };
const CHOICES = new WeakMap<Answer, Choice[]>();

/** The same array for the same answer, so that its previews are drawn once. */
function choicesOf(answer: Answer): Choice[] {
  const made =
    CHOICES.get(answer) ?? answer.masks.map((mask, index) => ({ mask, predictedIou: answer.predictedIou[index]! }));
  CHOICES.set(answer, made);
  return made;
}

/** The actions that cannot be done now. */
export function disabledActions({ past, future }: Session, hasImage: boolean): Set<Action> {
  const disabled = new Set<Action>();
  if (!past.length) disabled.add("undo");
  if (!future.length) disabled.add("redo");
  if (!hasImage) (["everything", "refine", "fit", "clear"] as const).forEach((one) => disabled.add(one));
  return disabled;
}
