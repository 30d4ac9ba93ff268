import { useMemo, useRef, useState } from 'preact/hooks';
import { bytes, ms, rate } from '../format.js';
import { colourVar, dashOf, resolve, seriesColour } from '../palette.js';
import { modelKey } from '../poll.js';
import { Plot } from './plot.jsx';
import { Choice } from './ui.jsx';

const SERIES_MAX = 8;
const RANGES = [
  [60, '1 min'],
  [300, '5 min'],
  [900, '15 min'],
];
const PERCENTILES = [
  ['p50_ms', 'p50'],
  ['p95_ms', 'p95'],
  ['p99_ms', 'p99'],
];

const YOUNG_MS = 120e3;
const BYTE_STEPS = Array.from({ length: 30 }, (_, i) => 2 ** (i + 12));

// A model of microseconds beside one of seconds can only be read on a logarithmic axis. Two thresholds, so that it does not
// change back and forth.
const LOG_FROM = 40;
const LINEAR_BELOW = 15;

const total = (list) => list.reduce((a, b) => a + b, 0);

// The busiest models, in their usual order, so that a chart stays readable with a hundred of them; of many, none that nobody asks.
function busiest(models) {
  if (models.length <= SERIES_MAX) return models;
  const asked = models.filter((m) => total(m.requests) > 0);
  const kept = new Set(asked.sort((a, b) => total(b.requests) - total(a.requests)).slice(0, SERIES_MAX));
  return models.filter((m) => kept.has(m));
}

function labelOf(model, models) {
  const twins = models.filter((m) => m.name === model.name).length > 1;
  return twins ? `${model.name} v${model.version}` : model.name;
}

function spread(series) {
  let min = Infinity;
  let max = 0;
  for (const { values } of series) {
    for (const v of values) {
      if (!(v > 0)) continue;
      min = Math.min(min, v);
      max = Math.max(max, v);
    }
  }
  return max > 0 ? max / min : 1;
}

// Each list is aligned at its end: the newest step is the last one.
function aligned(values, length, fn) {
  const start = values.length - length;
  return Array.from({ length }, (_, i) => (start + i < 0 ? null : fn(values[start + i], start + i)));
}

function prepare(history, seconds) {
  const step = history.step_ms / 1000;
  const end = history.end_ms / 1000;
  const all = Math.max(history.rss_bytes.length, ...history.models.map((m) => m.requests.length), 0);
  const length = Math.min(all, Math.ceil(seconds / step) + 1);
  const times = Array.from({ length }, (_, i) => end - (length - 1 - i) * step);
  const shown = busiest(history.models);
  const series = (fn) =>
    shown.map((m) => {
      const key = modelKey(m);
      return {
        key,
        label: labelOf(m, shown),
        css: colourVar(key),
        colour: () => seriesColour(key),
        dash: dashOf(key),
        values: fn(m, length),
      };
    });
  return {
    times,
    window: [end - seconds, end],
    more: history.models.length - shown.length,
    throughput: series((m, n) => aligned(m.requests, n, (x) => x / step)),
    // A step without requests has no latency; the line is interrupted there.
    latency: (kind) => series((m, n) => aligned(m[kind], n, (x, i) => (m.requests[i] > 0 ? x : null))),
    memory: [
      {
        key: 'memory',
        label: 'all processes',
        css: 'var(--series-0)',
        colour: () => resolve('--series-0'),
        values: aligned(history.rss_bytes, length, (x) => x),
      },
    ],
  };
}

export function Charts({ state }) {
  const { history, status } = state;
  const [chosen, setSeconds] = useState(null);
  // A server that has just started has nothing to show for five minutes.
  const seconds = chosen ?? (status.now_ms - status.started_at_ms < YOUNG_MS ? 60 : 300);
  const [percentile, setPercentile] = useState('p95_ms');
  const data = useMemo(() => prepare(history, seconds), [history, seconds]);
  const latency = useMemo(() => data.latency(percentile), [data, percentile]);
  const log = useRef(false);
  log.current = spread(latency) > (log.current ? LINEAR_BELOW : LOG_FROM);
  const common = { times: data.times, window: data.window };
  return (
    <section aria-label="Charts">
      <div class="section-head">
        <h2>Over time</h2>
        <Choice label="Time range" options={RANGES} value={seconds} onChange={setSeconds} />
      </div>
      <div class="charts">
        <Plot {...common} title="Throughput" series={data.throughput} more={data.more} format={rate} axisFormat={rate} emptyMax={10} nothing="No requests yet" />
        <Plot
          {...common}
          title="Latency"
          series={latency}
          more={data.more}
          format={ms}
          axisFormat={ms}
          log={log.current}
          emptyMax={1}
          nothing="No requests yet"
          control={<Choice label="Percentile" options={PERCENTILES} value={percentile} onChange={setPercentile} />}
        />
        <Plot {...common} title="Memory" series={data.memory} format={bytes} axisFormat={bytes} incrs={BYTE_STEPS} emptyMax={1048576} nothing="Not measured yet" />
      </div>
    </section>
  );
}
