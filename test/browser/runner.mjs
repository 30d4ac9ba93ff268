// Runs named checks one after the other, prints each, and ends with "N passed, N failed".
const TIMEOUT_MS = 120_000; // of a check; generous, for machines with other work
const results = [];

export async function check(name, fn) {
  const start = performance.now();
  let timer;
  try {
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done within ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS);
    });
    await Promise.race([fn(), late]);
    results.push(true);
    console.log(`ok    ${name} (${Math.round(performance.now() - start)} ms)`);
  } catch (e) {
    results.push(false);
    console.log(`FAIL  ${name}\n      ${String(e.message).split('\n').join('\n      ')}`);
  } finally {
    clearTimeout(timer);
  }
}

export function expect(condition, text) {
  if (!condition) throw new Error(text);
}

export function equal(got, wanted, what = 'value') {
  expect(got === wanted, `${what}: got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
}

// Asks again until the answer is true; facts on the page change once per second.
export async function eventually(fn, what, limit = 40_000) {
  const end = performance.now() + limit;
  for (;;) {
    if (await fn()) return;
    expect(performance.now() < end, `${what}: not within ${limit / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export function finish() {
  const failed = results.filter((r) => !r).length;
  console.log(`${results.length - failed} passed, ${failed} failed`);
  process.exitCode = failed || results.length === 0 ? 1 : 0;
}
