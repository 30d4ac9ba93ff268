import { useState } from 'preact/hooks';
import { ago, plural, stamp } from '../format.js';
import { CopyButton, Empty, Section } from './ui.jsx';

const SHOWN = 10;

// SIGKILL, also where the report says KILL.
const signalOf = (c) => (c.signal_name ? `SIG${c.signal_name.replace(/^SIG/, '')}` : '');

// A run may have carried several requests.
const requestsOf = (c) => (c.request_ids?.length ? c.request_ids : [c.request_id]).filter(Boolean);

const victim = (c) => (c.model ? `${c.role} ${c.model} #${c.instance}` : c.role);

function asText(c) {
  const lines = [
    `quern crash report ${c.id}`,
    `time     ${new Date(c.time_ms).toISOString()}`,
    `process  ${victim(c)} (pid ${c.pid})`,
    `signal   ${c.signal ? `${signalOf(c)} (${c.signal})` : 'none'}`,
    `request  ${requestsOf(c).join(' ') || 'none'}`,
    `reason   ${c.reason}`,
    ...(c.stack ?? []).map((frame) => `    ${frame}`),
  ];
  return lines.join('\n');
}

function Crash({ crash: c, now }) {
  const stack = c.stack ?? [];
  const requests = requestsOf(c);
  return (
    <li class="card">
      <details class="crash" data-crash={c.id} data-model={c.model}>
        <summary>
          <span class="crash-signal">{signalOf(c) || 'exit'}</span>
          <span class="crash-who">{victim(c)}</span>
          <span class="crash-reason">{c.reason}</span>
          <time class="muted" dateTime={new Date(c.time_ms).toISOString()} title={stamp(c.time_ms)}>
            {ago(c.time_ms, now)}
          </time>
        </summary>
        <dl class="crash-facts">
          <div>
            <dt>Time</dt>
            <dd>{stamp(c.time_ms)}</dd>
          </div>
          <div>
            <dt>Pid</dt>
            <dd>{c.pid}</dd>
          </div>
          <div>
            <dt>{requests.length > 1 ? 'Requests' : 'Request'}</dt>
            <dd>{requests.length ? <code>{requests.join(' ')}</code> : 'none at that moment'}</dd>
          </div>
          <div>
            <dt>Report</dt>
            <dd>
              <code>{c.id}</code>
            </dd>
          </div>
        </dl>
        {stack.length > 0 ? (
          <pre tabIndex={0} aria-label="Stack">
            {stack.map((frame, i) => `${String(i).padStart(2)}  ${frame}`).join('\n')}
          </pre>
        ) : (
          <p class="muted">{c.signal === 9 ? 'No stack: a process that is killed cannot write one.' : 'No stack was recorded.'}</p>
        )}
        <CopyButton text={asText(c)} label="Copy report" />
      </details>
    </li>
  );
}

export function Crashes({ crashes, now }) {
  const [all, setAll] = useState(false);
  const newest = [...crashes].sort((a, b) => b.time_ms - a.time_ms);
  const shown = all ? newest : newest.slice(0, SHOWN);
  return (
    <Section id="crashes" title="Crash reports" note={crashes.length ? plural(crashes.length, 'report') : undefined}>
      {crashes.length === 0 ? (
        <Empty title="No crashes">Should a process die, its report appears here, and stays after a restart.</Empty>
      ) : (
        <ol class="crashes">
          {shown.map((c) => (
            <Crash key={c.id} crash={c} now={now} />
          ))}
        </ol>
      )}
      {newest.length > shown.length && (
        <button type="button" onClick={() => setAll(true)}>
          Show all {newest.length}
        </button>
      )}
    </Section>
  );
}
