// The memory budget, and which models are in memory: what each needs, and what became of it last.
import { ago, bytes, count, plural } from '../format.js';
import { Pill, Section } from './ui.jsx';

function noteOf(memory) {
  const { budget_bytes: budget, held_bytes: held, models } = memory;
  const loaded = models.filter((m) => m.state === 'loaded').length;
  const of = budget > 0 ? ` of the budget of ${bytes(budget)}` : ', without a budget';
  return `${bytes(held)}${of}; ${loaded} of ${plural(models.length, 'model')} in memory`;
}

function Row({ model, now }) {
  const { name, version, state } = model;
  return (
    <tr data-memory={name}>
      <th scope="row">
        {name} <span class="muted">v{version}</span>
      </th>
      <td>
        <Pill state={state} />
      </td>
      <td class="num">{model.measured ? bytes(model.need_bytes) : `about ${bytes(model.need_bytes)}`}</td>
      <td class="num">
        {count(model.loads)} / {count(model.unloads)}
      </td>
      <td class="muted memory-used">{model.used_ms > 0 && model.load !== 'always' ? ago(model.used_ms, now) : '–'}</td>
      <td class="muted memory-why">{model.why}</td>
    </tr>
  );
}

const byName = (models) => [...models].sort((a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version, 'en', { numeric: true }));

export function Memory({ status }) {
  const { memory, now_ms: now } = status;
  const models = memory?.models ?? [];
  if (models.length === 0 || (!memory.budget_bytes && models.every((m) => m.load !== 'on-demand'))) return null;
  return (
    <Section id="memory" title="Models in memory" note={noteOf(memory)}>
      <div class="card table-box">
        {memory.budget_bytes > 0 && (
          <meter class="memory-meter" aria-label="Budget in use" min={0} max={memory.budget_bytes} value={Math.min(memory.held_bytes, memory.budget_bytes)} />
        )}
        <table class="memory-table">
          <thead>
            <tr>
              <th scope="col">Model</th>
              <th scope="col">State</th>
              <th scope="col" class="num">Needs</th>
              <th scope="col" class="num">Loaded / unloaded</th>
              <th scope="col">Used</th>
              <th scope="col">Last</th>
            </tr>
          </thead>
          <tbody>
            {byName(models).map((m) => (
              <Row key={`${m.name} ${m.version} ${m.state}`} model={m} now={now} />
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}
