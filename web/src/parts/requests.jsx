// What became of the latest requests, and why. The list stands still while one of them is open.
import { useEffect, useRef, useState } from 'preact/hooks';
import { getRequest, getRequests } from '../api.js';
import { ago, bytes, count, plural, stamp, us } from '../format.js';
import { mainStage } from '../stages.js';
import { Waterfall } from './stages.jsx';
import { Choice, CopyButton, Empty, Section } from './ui.jsx';

const EVERY_MS = 2000;
const ASKED = 40;
const SHOWN = 12; // until more are asked for

const KINDS = [
  ['', 'All'],
  ['slow', 'Slow'],
  ['failed', 'Failed'],
  ['refused', 'Refused'],
  ['invalid', 'Invalid'],
  ['usual', 'Usual'],
];

const TONES = { slow: 'warn', failed: 'bad', refused: 'warn', invalid: 'wait', usual: 'good' };

const Kind = ({ kind }) => (
  <span class={`pill ${TONES[kind] ?? 'calm'}`} data-kind={kind}>
    {kind}
  </span>
);

const timeOf = (r) => r.total_us + (r.stages_us?.send ?? 0);

// The worker as the list of processes knows it; it may have ended since.
function workerOf(r, processes) {
  if (r.isolation === 'inline') return 'the edge itself';
  const p = processes.find((x) => x.pid === r.worker_pid);
  return p?.model ? `${p.model} #${p.instance} (pid ${r.worker_pid})` : `pid ${r.worker_pid}, which has ended since`;
}

function factsOf(r, processes) {
  const a = r.admission ?? {};
  const facts = [];
  if (r.batch_rows > 0) facts.push(['Run', `${plural(r.rows, 'row')} in a run of ${count(r.batch_rows)}, for ${plural(r.batch_requests, 'request')}`]);
  else if (r.rows > 0) facts.push(['Rows', count(r.rows)]);
  if (r.usual_run_us > 0) facts.push(['Usual run', us(r.usual_run_us)]);
  if (r.worker_pid > 0) facts.push(['Run by', workerOf(r, processes)]);
  if (r.attempts > 1) facts.push(['Attempts', count(r.attempts)]);
  if (a.deadline_us > 0) {
    const expected = a.expected_us > 0 ? `, answer expected after ${us(a.expected_us)}` : '';
    facts.push(['Ahead of it', a.ahead_rows > 0 ? `${plural(a.ahead_rows, 'row')}${expected}` : 'nothing']);
    facts.push(['Deadline', us(a.deadline_us)]);
  }
  if (a.refused_by) facts.push(['Refused by', a.refused_by === 'queue' ? `queue: ${count(a.queue)} of ${count(a.queue_max)} waited` : a.refused_by]);
  if (r.cache && r.cache !== 'off') facts.push(['Cache', r.cache]);
  if (r.body_bytes > 0) facts.push(['Body', bytes(r.body_bytes)]);
  facts.push(['Ended', stamp(r.at_ms)]);
  return facts;
}

// Of an ensemble.
function Steps({ steps }) {
  if (!steps?.length) return null;
  return (
    <ul class="why steps" aria-label="Steps of the ensemble">
      {steps.map((s) => (
        <li key={s.name}>
          <b>{s.name}</b> <span class="muted">({s.model})</span> after {us(s.from_us)}: waited {us(s.wait_us)}, ran {us(s.run_us)} in a run of{' '}
          {plural(s.batch_rows, 'row')}
        </li>
      ))}
    </ul>
  );
}

const Details = ({ request: r, processes }) => (
  <div class="request-more">
    <div>
      <ul class="why">
        {(r.why ?? []).map((sentence) => (
          <li key={sentence}>{sentence}</li>
        ))}
        {r.error && <li class="tone-bad">{r.error}</li>}
        {r.remedy && <li>{r.remedy}</li>}
      </ul>
      <Waterfall stages={r.stages_us} />
      <Steps steps={r.steps} />
    </div>
    <dl class="request-facts">
      {factsOf(r, processes).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
      {r.batch_mates?.length > 0 && (
        <div>
          <dt>Beside it</dt>
          <dd>
            <code>{r.batch_mates.join(' ')}</code>
          </dd>
        </div>
      )}
      <div>
        <dt>Id</dt>
        <dd class="request-id-line">
          <code>{r.id}</code> <CopyButton text={r.id} label="Copy id" />
        </dd>
      </div>
    </dl>
  </div>
);

function Request({ request: r, now, processes, open, onToggle }) {
  return (
    <li class="card">
      <details class="request" data-request={r.id} open={open} onToggle={(e) => onToggle(e.currentTarget.open)}>
        <summary>
          <Kind kind={r.kind} />
          <span class="num request-status">{r.status}</span>
          <span class="request-model">{r.model || r.path}</span>
          <span class="num request-time">{us(timeOf(r))}</span>
          <span class="request-why">{r.error || `mostly ${mainStage(r.stages_us) ?? 'nothing measured'}`}</span>
          <time class="muted" dateTime={new Date(r.at_ms).toISOString()} title={stamp(r.at_ms)}>
            {ago(r.at_ms, now)}
          </time>
        </summary>
        {open && <Details request={r} processes={processes} />}
      </details>
    </li>
  );
}

// Until the answer for another kind has come, what is known of that kind is shown. One question at a time: a server that needs longer
// than EVERY_MS for an answer is not asked again meanwhile, and its answer counts.
function useRequests(kind, now, paused) {
  const [answer, setAnswer] = useState({ kind: null, list: null, error: '' });
  const latest = useRef({});
  const asking = useRef(null);
  latest.current = { kind, paused };
  const turn = Math.floor(now / EVERY_MS);
  useEffect(() => {
    if ((paused && answer.kind === kind) || asking.current === kind) return;
    asking.current = kind;
    const take = (change) => {
      if (asking.current === kind) asking.current = null;
      const is = latest.current;
      setAnswer((before) => (is.kind !== kind || (is.paused && before.kind === kind) ? before : { ...before, ...change }));
    };
    getRequests(kind, ASKED).then(
      ({ requests }) => take({ kind, list: requests, error: '' }),
      (e) => take({ error: e.message }),
    );
  }, [kind, turn, paused]);
  const current = answer.kind === kind;
  return { ...answer, current, list: current ? answer.list : (answer.list ?? []).filter((r) => kind === '' || r.kind === kind) };
}

function Finder({ onFound }) {
  const [id, setId] = useState('');
  const [error, setError] = useState('');
  const submit = async (event) => {
    event.preventDefault();
    try {
      onFound(await getRequest(id.trim()));
      setError('');
    } catch (e) {
      setError(e.message);
    }
  };
  return (
    <form class="finder" onSubmit={submit}>
      <input
        type="search"
        placeholder="x-request-id"
        aria-label="Find a request by its id"
        value={id}
        onInput={(e) => setId(e.currentTarget.value)}
      />
      <button type="submit" class="small" disabled={!id.trim()}>
        Explain
      </button>
      <span role="status" class="tone-bad">
        {error}
      </span>
    </form>
  );
}

const key = (r) => `${r.id} ${r.at_ms} ${r.path}`;

export function Requests({ state }) {
  const { now_ms: now, processes } = state.status;
  const [kind, setKind] = useState('');
  const [opened, setOpened] = useState(null); // the key of the one that is open
  const [found, setFound] = useState(null);
  const [all, setAll] = useState(false);
  const { list, error, current } = useRequests(kind, now, opened !== null);
  const choose = (next) => {
    setKind(next);
    setOpened(null);
    setFound(null);
  };
  const find = (r) => {
    setFound(r);
    setOpened(key(r));
  };
  const known = found ? [found, ...list.filter((r) => key(r) !== key(found))] : list;
  const shown = all ? known : known.slice(0, SHOWN);
  return (
    <Section id="requests" title="Requests" note={opened !== null ? 'the list stands still while one is open' : 'latest first; of the usual ones a sample'}>
      <div class="requests-head">
        <Choice label="Kind of request" options={KINDS} value={kind} onChange={choose} />
        <Finder onFound={find} />
      </div>
      {error && <p class="tone-bad">{error}</p>}
      {current && shown.length === 0 && (
        <Empty title={kind ? `No ${kind} requests on record` : 'No requests on record'}>
          Failed, refused and slow requests are kept apart from the others, so that they stay longer.
        </Empty>
      )}
      <ol class="requests" aria-busy={!current}>
        {shown.map((r) => (
          <Request
            key={key(r)}
            request={r}
            now={now}
            processes={processes}
            open={opened === key(r)}
            onToggle={(open) => setOpened((before) => (open ? key(r) : before === key(r) ? null : before))}
          />
        ))}
      </ol>
      {known.length > shown.length && (
        <button type="button" class="small" onClick={() => setAll(true)}>
          Show {known.length - shown.length} more
        </button>
      )}
    </Section>
  );
}
