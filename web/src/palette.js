// One colour per model, the same wherever the model is shown. Colours are given in the order in which models are seen first, so
// that they do not change while the page is open; the ninth model begins again with dashed lines.
const COLOURS = 8;
const slots = new Map();

export function slotOf(key) {
  if (!slots.has(key)) slots.set(key, slots.size);
  return slots.get(key);
}

export const colourVar = (key) => `var(--series-${slotOf(key) % COLOURS})`;
export const dashOf = (key) => (slotOf(key) < COLOURS ? undefined : [6, 4]);

// Canvas drawing needs the colour itself.
export const resolve = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const seriesColour = (key) => resolve(`--series-${slotOf(key) % COLOURS}`);
