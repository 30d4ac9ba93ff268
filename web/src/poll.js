// Asks for status and history once per second while the page is visible, and gives each answer to `onChange` as one state:
// {status, history, rates, offline: {since, reason, silent} | null}. The last good answer stays when the server cannot be reached.
import { getHistory, getStatus, Unreachable } from './api.js';
import { Rates } from './rates.js';

const STEP_MS = 1000;
const RETRY_MS = 300;
// A restart of the edge takes less than this many tries; it is not worth an alarm.
const QUIET_FAILURES = 2;

export const modelKey = (m) => `${m.name}@${m.version}`;
export const processKey = (p) => `${p.role}/${p.model ?? ''}@${p.version ?? ''}#${p.instance ?? 0}`;

const byName = (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : Number(a.version) - Number(b.version));

const ROLES = ['master', 'edge', 'stem', 'worker'];
const byRole = (a, b) =>
  ROLES.indexOf(a.role) - ROLES.indexOf(b.role) ||
  (a.model < b.model ? -1 : a.model > b.model ? 1 : Number(a.version) - Number(b.version) || a.instance - b.instance);

// The page's order does not depend on the order in which things were started.
function inOrder(status, history) {
  status.models.sort(byName);
  status.processes.sort(byRole);
  history.models.sort(byName);
}

function ratesOf(rates, status) {
  const now = status.now_ms;
  const models = {};
  for (const m of status.models) {
    const key = modelKey(m);
    models[key] = {
      requests: rates.add(`r ${key}`, now, m.requests),
      failures: rates.add(`f ${key}`, now, m.failures),
      rows: rates.add(`w ${key}`, now, m.rows),
      runs: rates.add(`u ${key}`, now, m.runs),
    };
  }
  const cpu = {};
  for (const p of status.processes) {
    const key = `${processKey(p)} ${p.pid}`;
    const used = rates.add(`c ${key}`, now, p.cpu_ms);
    cpu[key] = used === null ? null : used / 1000;
  }
  const http = status.http ?? {};
  const all = {
    requests: rates.add('http', now, http.requests ?? 0),
    bytesIn: rates.add('in', now, http.bytes_in ?? 0),
    bytesOut: rates.add('out', now, http.bytes_out ?? 0),
  };
  rates.prune(now);
  return { models, cpu, http: all };
}

export function startPolling(onChange) {
  const rates = new Rates();
  let state = { status: null, history: null, rates: null, offline: null };
  let failures = 0;
  let timer = null;
  let running = false;

  async function once() {
    const [status, history] = await Promise.all([getStatus(), getHistory()]);
    inOrder(status, history);
    state = { status, history, rates: ratesOf(rates, status), offline: null };
    failures = 0;
  }

  async function tick() {
    timer = null;
    running = true;
    const start = performance.now();
    try {
      await once();
    } catch (e) {
      failures++;
      const since = state.offline?.since ?? Date.now();
      if (failures > QUIET_FAILURES || !state.status) {
        state = { ...state, offline: { since, reason: e.message, silent: e instanceof Unreachable } };
      }
    }
    running = false;
    if (!document.hidden) {
      const wait = failures > 0 && failures <= QUIET_FAILURES ? RETRY_MS : STEP_MS;
      timer = setTimeout(tick, Math.max(100, wait - (performance.now() - start)));
    }
    onChange(state);
  }

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && !timer && !running) tick();
  });
  tick();
}
