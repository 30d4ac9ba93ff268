import { bytes, count, duration, percent, plural } from '../format.js';
import { processKey } from '../poll.js';
import { Pill, Section } from './ui.jsx';

function nameOf(p) {
  if (!p.model) return null;
  if (!p.version) return p.model; // the engine's process has no version
  return `${p.model} v${p.version} #${p.instance}`;
}

const Row = ({ process: p, cpu, now }) => (
  <tr data-role={p.role} data-model={p.model}>
    <th scope="row">
      {p.role} {nameOf(p) && <span class="process-model">{nameOf(p)}</span>}
      {p.restarts > 0 && <span class="narrow-only tone-warn reason-line">{plural(p.restarts, 'restart')}</span>}
      {p.reason && <span class="muted reason-line">{p.reason}</span>}
    </th>
    <td class="num optional">{p.pid > 0 ? p.pid : '–'}</td>
    <td>
      <Pill state={p.state} />
    </td>
    <td class="num optional">{p.since_ms > 0 ? duration(Math.max(0, Math.floor((now - p.since_ms) / 1000) * 1000)) : '–'}</td>
    <td class={`num optional${p.restarts > 0 ? ' tone-warn' : ''}`}>{count(p.restarts)}</td>
    <td class="num">{p.pid > 0 ? bytes(p.rss_bytes) : '–'}</td>
    <td class="num" title={`${duration(p.cpu_ms)} of processor time since its start`}>
      {p.pid > 0 ? percent(cpu) : '–'}
    </td>
  </tr>
);

export function Processes({ state }) {
  const { processes, now_ms: now } = state.status;
  const restarts = processes.reduce((sum, p) => sum + p.restarts, 0);
  return (
    <Section
      id="processes"
      title="Processes"
      note={`${plural(processes.length, 'process', 'processes')}, ${restarts ? plural(restarts, 'restart') : 'no restarts'}`}
    >
      <div class="card table-box">
        <table>
          <caption class="offscreen">Processes of this server</caption>
          <thead>
            <tr>
              <th scope="col">Process</th>
              <th scope="col" class="num optional">
                Pid
              </th>
              <th scope="col">State</th>
              <th scope="col" class="num optional">
                For
              </th>
              <th scope="col" class="num optional">
                Restarts
              </th>
              <th scope="col" class="num">
                Memory
              </th>
              <th scope="col" class="num" title="Share of one processor core">
                CPU
              </th>
            </tr>
          </thead>
          <tbody>
            {processes.map((p) => (
              <Row key={`${processKey(p)} ${p.pid}`} process={p} cpu={state.rates.cpu[`${processKey(p)} ${p.pid}`]} now={now} />
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}
