/** Colours of masks. */
export type Color = readonly [number, number, number];

/** Of the object at hand. */
export const CURRENT: Color = [99, 91, 255];

/** Colours that differ for most eyes, in an order in which neighbours differ most. */
const PALETTE: Color[] = [
  [0, 150, 136], [240, 130, 20], [200, 60, 160], [60, 140, 240], [150, 180, 30],
  [230, 70, 70], [130, 90, 220], [240, 190, 20], [20, 170, 210], [170, 110, 60],
];

export function objectColor(index: number): Color {
  return PALETTE[index % PALETTE.length]!;
}

export function cssColor([r, g, b]: Color, opacity = 1): string {
  return `rgb(${r} ${g} ${b} / ${opacity})`;
}
