// One chart over time. uPlot draws the canvas; the legend, which also shows the values under the pointer, is ours.
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import { clock } from '../format.js';
import { resolve } from '../palette.js';
import { onTheme } from '../theme.js';

const HEIGHT = 190;
const FILL_ALPHA = '22'; // behind a colour #rrggbb

const LOOK = {
  stroke: () => resolve('--muted'),
  grid: { stroke: () => resolve('--grid'), width: 1 },
  ticks: { show: false },
  font: '12px system-ui, sans-serif',
};

const timeAxis = {
  ...LOOK,
  size: 30,
  space: 60,
  // A label at either end would be cut.
  filter: (u, ticks, _axis, _space, step) => {
    const { min, max } = u.scales.x;
    const edge = ((max - min) * (step < 60 ? 32 : 18)) / u.width;
    return ticks.map((t) => (t - min < edge || max - t < edge ? null : t));
  },
  incrs: [5, 10, 15, 30, 60, 120, 300],
  values: (_, ticks, _axis, _space, step) => ticks.map((t) => (t === null ? null : clock(t * 1000).slice(0, step < 60 ? 8 : 5))),
};

function powersOfTen(_u, _axis, min, max) {
  const list = [];
  for (let e = Math.round(Math.log10(min)); e <= Math.round(Math.log10(max)); e++) list.push(10 ** e);
  return list;
}

const valueAxis = ({ axisFormat, incrs, log }) => ({
  ...LOOK,
  size: 62,
  gap: 8,
  space: 34,
  ...(incrs ? { incrs } : {}),
  ...(log ? { splits: powersOfTen, filter: (_, ticks) => ticks } : {}),
  values: (_, ticks) => ticks.map(axisFormat),
});

// A value with nothing on either side makes no line, so it is drawn as a dot.
function loners(u, series) {
  const values = u.data[series];
  const list = [];
  values.forEach((v, i) => {
    if (v !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null) list.push(i);
  });
  return list;
}

const linearRange = (emptyMax) => (_u, _min, max) => [0, max > 0 ? max * 1.12 : emptyMax];

function logRange(_u, min, max) {
  if (!(min > 0)) return [0.01, 1];
  return [10 ** Math.floor(Math.log10(min)), 10 ** Math.ceil(Math.log10(max))];
}

function options(width, props, live) {
  return {
    width,
    height: HEIGHT,
    padding: [10, 8, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: false, y: false },
      sync: { key: 'time' },
      points: { size: 7, width: 2 },
    },
    scales: {
      x: { time: true, range: () => live.current.window },
      y: props.log ? { distr: 3, range: logRange } : { range: linearRange(props.emptyMax) },
    },
    axes: [timeAxis, valueAxis(props)],
    series: [
      {},
      ...props.series.map((s) => ({
        label: s.label,
        stroke: () => s.colour(),
        fill: props.series.length === 1 ? () => s.colour() + FILL_ALPHA : undefined,
        width: 1.75,
        dash: s.dash,
        points: { show: true, size: 4, width: 0, fill: () => s.colour(), filter: loners },
        spanGaps: false,
      })),
    ],
    hooks: { setCursor: [(u) => live.current.onHover(u.cursor.left >= 0 ? u.cursor.idx : null)] },
  };
}

function lastKnown(values) {
  for (let i = values.length - 1; i >= Math.max(0, values.length - 5); i--) if (values[i] !== null) return values[i];
  return null;
}

export function Plot(props) {
  const { title, series, times, window, format, control } = props;
  const box = useRef(null);
  const plot = useRef(null);
  const [hover, setHover] = useState(null);
  const live = useRef({});
  live.current = { window, onHover: setHover };
  const kind = [props.log, ...series.map((s) => s.key)].join('\n');

  useEffect(() => {
    const u = new uPlot(options(box.current.clientWidth, props, live), [times, ...series.map((s) => s.values)], box.current);
    plot.current = u;
    const resize = new ResizeObserver(() => u.setSize({ width: box.current.clientWidth, height: HEIGHT }));
    resize.observe(box.current);
    const stop = onTheme(() => u.redraw(false, true));
    return () => {
      stop();
      resize.disconnect();
      u.destroy();
    };
  }, [kind]);
  useEffect(() => {
    plot.current.setData([times, ...series.map((s) => s.values)]);
  }, [times, window[0], window[1], series]);

  const at = hover !== null && hover < times.length ? hover : null;
  const valueOf = (s) => (at === null ? lastKnown(s.values) : s.values[at]);
  const summary = series
    .filter((s) => s.values.some((v) => v !== null))
    .map((s) => `${s.label} ${format(lastKnown(s.values))}`)
    .join(', ');
  return (
    <figure class="chart card">
      <figcaption>
        <h3>{title}</h3>
        {at !== null && <span class="muted chart-time">{clock(times[at] * 1000)}</span>}
        {control}
      </figcaption>
      <div class="chart-box" ref={box} role="img" aria-label={`${title} over time. Now: ${summary || props.nothing}`} />
      <ul class="legend">
        {series.map((s) => (
          <li key={s.key}>
            <i class="swatch" style={{ background: s.css }} />
            <span class="legend-name">{s.label}</span> <b>{format(valueOf(s))}</b>
          </li>
        ))}
        {summary === '' && <li>{props.nothing}</li>}
        {props.more > 0 && <li class="muted">and {props.more} quieter</li>}
      </ul>
    </figure>
  );
}
