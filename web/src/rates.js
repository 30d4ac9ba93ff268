// Rates from counters that only grow, over the last few polls. A counter that fell was reset (its process was restarted):
// then the window starts again.
const WINDOW_MS = 5000;

export class Rates {
  #samples = new Map();

  // Returns the rate per second, or null until two samples are there.
  add(key, now, value) {
    const list = this.#samples.get(key) ?? [];
    const last = list.at(-1);
    if (last && (value < last.value || now < last.now)) list.length = 0;
    list.push({ now, value });
    while (list.length > 2 && now - list[1].now >= WINDOW_MS) list.shift();
    this.#samples.set(key, list);
    const first = list[0];
    return now > first.now ? ((value - first.value) * 1000) / (now - first.now) : null;
  }

  // Forgets what was not added since `now`.
  prune(now) {
    for (const [key, list] of this.#samples) if (list.at(-1).now < now) this.#samples.delete(key);
  }
}
