// The stages of a request, in their order, and how they lie in time.
export const STAGES = [
  ['receive', 'bytes arrive and are parsed as HTTP'],
  ['decode', 'JSON or tensors are written into the batch'],
  ['queue', 'the request waits for its run'],
  ['compute', 'the model runs'],
  ['encode', 'the answer is written'],
  ['send', 'the answer leaves'],
];

const timeOf = (stages, name) => Math.max(0, Number(stages?.[name]) || 0);

export const totalUs = (stages) => STAGES.reduce((sum, [name]) => sum + timeOf(stages, name), 0);

// One after the other: where each begins and how long it is, as shares of the whole. Empty when no time is known.
export function waterfall(stages) {
  const total = totalUs(stages);
  if (!(total > 0)) return [];
  let before = 0;
  return STAGES.map(([name, what]) => {
    const us = timeOf(stages, name);
    const bar = { name, what, us, from: before / total, share: us / total };
    before += us;
    return bar;
  });
}

// The stage that took most; null when no time is known.
export function mainStage(stages) {
  const bars = waterfall(stages);
  return bars.length ? bars.reduce((most, bar) => (bar.us > most.us ? bar : most)).name : null;
}
