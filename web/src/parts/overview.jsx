import { bytes, count, ms, percent, plural, rate } from '../format.js';
import { modelKey } from '../poll.js';
import { Figure } from './ui.jsx';

const sum = (list, of) => list.reduce((total, x) => total + (of(x) ?? 0), 0);

function slowest(models) {
  const seen = models.filter((m) => m.requests > 0 && m.latency_ms?.p99 > 0);
  return seen.reduce((worst, m) => (!worst || m.latency_ms.p99 > worst.latency_ms.p99 ? m : worst), null);
}

export function Overview({ state }) {
  const { status, rates } = state;
  const { models, processes, http } = status;
  const known = models.map((m) => rates.models[modelKey(m)]);
  const requests = known.some((r) => r.requests !== null) ? sum(known, (r) => r.requests) : null;
  const failures = sum(known, (r) => r.failures);
  const failed = sum(models, (m) => m.failures);
  const worst = slowest(models);
  const memory = status.memory_total_bytes || sum(processes, (p) => p.rss_bytes); // not known in the first second
  const queue = sum(models, (m) => m.queue);
  return (
    <dl class="overview card" aria-label="The server now">
      <Figure name="Requests" field="requests" value={rate(requests)} note={`${count(sum(models, (m) => m.requests))} since start`} />
      <Figure
        name="Failed"
        value={percent(requests ? failures / requests : 0)}
        tone={failures > 0 ? 'bad' : undefined}
        note={failed > 0 ? `${count(failed)} since start` : 'none since start'}
      />
      <Figure name="Slowest p99" value={worst ? ms(worst.latency_ms.p99) : '–'} note={worst ? worst.name : 'no requests yet'} />
      <Figure name="Queued" value={count(queue)} note={`${count(sum(models, (m) => m.in_flight))} in flight`} />
      <Figure
        name="Memory"
        value={bytes(memory)}
        note={plural(processes.filter((p) => p.pid > 0).length, 'process', 'processes')}
        title="Of all processes together; what several of them share (libraries, weights, memory of requests) counts once. The table of processes shows the resident memory of each, shared or not."
      />
      <Figure
        name="Connections"
        value={count(http.connections_open)}
        note={rates.http.bytesOut === null ? '–' : `${bytes(rates.http.bytesOut)}/s out`}
        title={`${count(http.requests)} HTTP requests, ${count(http.bad_requests)} of them malformed; ${bytes(http.bytes_in)} in, ${bytes(http.bytes_out)} out`}
      />
    </dl>
  );
}
