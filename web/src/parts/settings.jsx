// All settings of a model: their values, where they come from, and why; what `quern model show` prints.
import { useEffect, useState } from 'preact/hooks';
import { getModel } from '../api.js';
import { bytes, count, ms, plural, short, us } from '../format.js';
import { Choice } from './ui.jsx';

const fileName = (path) => path.slice(path.lastIndexOf('/') + 1);

// What was chosen stands in place of what was left open.
export function rowsOf(model) {
  const explain = model.explain ?? { settings: [] };
  const chosen = new Map((model.chosen ?? []).map((c) => [c.key, c]));
  return explain.settings.map((s) => {
    const from = s.from === 'file' ? `${fileName(explain.file)}:${s.line}` : s.from;
    const c = chosen.get(s.key);
    if (!c) return { key: s.key, value: s.value, from, reason: s.reason ?? '', isDefault: s.from === 'default' };
    const isOpen = s.from === 'default' || s.value === 'auto';
    const isOther = s.value !== c.value;
    const asked = !isOpen && isOther ? `asked for: ${s.value}` : (s.reason ?? '');
    return {
      key: s.key,
      value: c.value,
      from: isOpen && isOther ? 'chosen' : from,
      reason: [asked, c.reason].filter(Boolean).join('; '),
      isDefault: false,
    };
  });
}

const isEmpty = (value) => value === '' || value === '[]' || value === '{}';

function Table({ model, all }) {
  const rows = rowsOf(model).filter((r) => all || !r.isDefault);
  return (
    <div class="table-box">
      <table class="settings-table">
        <thead>
          <tr>
            <th scope="col">Setting</th>
            <th scope="col">Value</th>
            <th scope="col">From</th>
            <th scope="col">Why</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((r) => (
            <tr key={r.key} data-setting={r.key}>
              <th scope="row">
                <code>{r.key}</code>
              </th>
              <td>{isEmpty(r.value) ? '–' : r.value}</td>
              <td class="muted">{r.from}</td>
              <td class="muted settings-why">{r.reason}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

// Measurements: each row has as many numbers as there are columns.
function Figures({ title, columns, rows }) {
  if (rows.length === 0) return null;
  return (
    <div>
      <h4>{title}</h4>
      <div class="table-box">
        <table class="settings-table figures">
          <thead>
            <tr>
              {columns.map((name) => (
                <th key={name} scope="col" class="num">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.join(' ')}>
                {row.map((text, i) => (
                  <td key={columns[i]} class="num">
                    {text}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function Batches({ measured = [] }) {
  const alone = measured.length > 0 ? measured[0].ms / measured[0].rows : 0;
  const gain = (m) => (m.ms > 0 ? `${((alone * m.rows) / m.ms).toFixed(2)} ×` : '–');
  return (
    <Figures
      title="Measured when it was loaded"
      columns={['Rows', 'A run', 'A row', 'Rows/s against the first']}
      rows={measured.map((m) => [count(m.rows), ms(m.ms), ms(m.ms / m.rows), gain(m)])}
    />
  );
}

const Trials = ({ measured = [] }) => (
  <Figures
    title="Instances and threads as they were tried"
    columns={['Instances', 'Threads', 'Rows/s', 'CPU a row']}
    rows={measured.map((m) => [count(m.instances), count(m.threads), short(m.rows_per_s), us(m.cpu_us_per_row)])}
  />
);

function sentences(model) {
  const { status, cache, run_sizes: sizes = [], failures_by_reason: failures = {} } = model;
  const list = [];
  const { run_us: run, row_us: row } = status.batching ?? {};
  if (run > 0 || row > 0) list.push(`Learned from runs: one costs ${us(run)} and ${us(row)} a row.`);
  if (sizes.length) list.push(`Runs so far: ${sizes.map((s) => `${count(s.runs)} of ${plural(s.rows, 'row')} (${us(s.mean_us)})`).join(', ')}.`);
  const { memory } = status;
  if (memory?.measured) {
    list.push(`Memory: it needs ${bytes(memory.need_bytes)}, ${bytes(memory.private_bytes)} of its workers' own and ${bytes(memory.shared_bytes)} that they share; ${bytes(memory.peak_bytes)} at most so far.`);
    list.push(`Loaded ${plural(memory.loads, 'time')} in ${ms(memory.load_ms)}, unloaded ${plural(memory.unloads, 'time')}${memory.loaded ? '' : ', it is not loaded now'}.`);
  } else if (status.memory_bytes > 0) list.push(`Memory ${bytes(status.memory_bytes)} after loading, which took ${ms(status.load_ms)}.`);
  if (cache) list.push(`Cache: ${bytes(cache.bytes)} of ${bytes(cache.budget_bytes)}, ${count(cache.hits)} hits, ${count(cache.misses)} misses.`);
  const failed = Object.entries(failures).filter(([, n]) => n > 0);
  if (failed.length) list.push(`Not answered: ${failed.map(([why, n]) => `${count(n)} ${why}`).join(', ')}.`);
  if (model.quarantined > 0) list.push(`${plural(model.quarantined, 'input')} that crashed its workers are quarantined.`);
  return list;
}

export function Settings({ model }) {
  const [answer, setAnswer] = useState(null);
  const [error, setError] = useState('');
  const [which, setWhich] = useState('set');
  useEffect(() => {
    let wanted = true;
    getModel(model.name).then(
      ({ models }) => wanted && setAnswer(models.find((m) => m.status.version === model.version) ?? models[0]),
      (e) => wanted && setError(e.message),
    );
    return () => {
      wanted = false;
    };
  }, [model.name, model.version, model.state]);
  if (error) return <p class="settings tone-bad">No explanation: {error}</p>;
  if (!answer) return <p class="settings muted">Asking the server…</p>;
  const { file, pbtxt } = answer.explain ?? {};
  return (
    <div class="settings">
      <div class="settings-head">
        <Choice
          label="Which settings"
          options={[
            ['set', 'Set or chosen'],
            ['all', 'All'],
          ]}
          value={which}
          onChange={setWhich}
        />
        <span class="muted">{[file, pbtxt].filter(Boolean).join(' and ')}</span>
      </div>
      <Table model={answer} all={which === 'all'} />
      <Batches measured={answer.status.batching?.measured} />
      <Trials measured={answer.status.scale?.measured} />
      <ul class="why">
        {sentences(answer).map((s) => (
          <li key={s}>{s}</li>
        ))}
      </ul>
    </div>
  );
}
