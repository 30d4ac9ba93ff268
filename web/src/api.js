// The server's HTTP API as the dashboard uses it.
const TIMEOUT_MS = 5000;
const SHOWN_BYTES_MAX = 200_000;

export class Unreachable extends Error {}

async function getJson(path, timeout = TIMEOUT_MS) {
  let response;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(timeout), headers: { accept: 'application/json' } });
  } catch (e) {
    throw new Unreachable(e.name === 'TimeoutError' ? `no answer within ${timeout / 1000} s` : 'no connection');
  }
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // Said below.
  }
  if (!response.ok) throw new Error(body?.error ?? body?.message ?? `${path} answered ${response.status}`);
  if (body === null) throw new Error(`${path} did not answer with JSON`);
  return body;
}

export const getStatus = () => getJson('/api/status');
export const getHistory = () => getJson('/api/history');
export const getRequests = (kind, n) => getJson(`/api/requests?n=${n}${kind ? `&kind=${kind}` : ''}`);
export const getRequest = (id) => getJson(`/api/requests/${encodeURIComponent(id)}`);
export const getModel = (name) => getJson(`/api/models/${encodeURIComponent(name)}`);
export const getSample = (model) => getJson(`/v2/models/${encodeURIComponent(model)}/sample`);

// Sends what the person wrote, and measures. Never throws: a failure is an answer to show.
export async function send(path, body) {
  const start = performance.now();
  try {
    const response = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const text = await response.text();
    return {
      status: response.status,
      ok: response.ok,
      ms: performance.now() - start,
      bytes: new Blob([text]).size,
      cut: text.length > SHOWN_BYTES_MAX,
      text: text.slice(0, SHOWN_BYTES_MAX),
      requestId: response.headers.get('x-request-id'),
    };
  } catch {
    return { status: 0, ok: false, ms: performance.now() - start, bytes: 0, text: 'No answer: the connection failed.' };
  }
}
