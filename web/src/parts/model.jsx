import { useId, useState } from 'preact/hooks';
import { bytes, count, duration, ms, percent, plural, rate, shape } from '../format.js';
import { colourVar } from '../palette.js';
import { modelKey } from '../poll.js';
import { Settings } from './settings.jsx';
import { Stages } from './stages.jsx';
import { TryIt } from './tryit.jsx';
import { Figure, Pill } from './ui.jsx';

// What the master has measured counts pages that workers share with others once; else all that a worker has. Ensembles have no process.
function memoryOf(model) {
  if (model.memory?.measured) return bytes(model.memory.need_bytes);
  return model.backend === 'ensemble' ? '–' : bytes(model.memory_bytes);
}

function Numbers({ model, rates }) {
  const { latency_ms: latency = {} } = model;
  const share = rates.requests > 0 ? rates.failures / rates.requests : 0;
  const quiet = model.requests === 0;
  const value = (x) => (quiet ? '–' : ms(x));
  return (
    <dl class="numbers">
      <Figure name="Requests" field="rate" value={rate(rates.requests)} note={`${count(model.requests)} in all`} />
      <Figure
        name="Failed"
        field="failed"
        value={percent(share)}
        tone={rates.failures > 0 ? 'bad' : undefined}
        note={`${count(model.failures)} in all`}
      />
      <Figure name="p50" value={value(latency.p50)} />
      <Figure name="p95" value={value(latency.p95)} />
      <Figure name="p99" value={value(latency.p99)} />
      <Figure name="Queue" value={count(model.queue)} note={`${count(model.in_flight)} in flight`} />
      <Figure name="Memory" value={memoryOf(model)} note={model.file_bytes > 0 ? `file ${bytes(model.file_bytes)}` : undefined} />
      <Figure name="Load time" value={duration(model.load_ms)} />
    </dl>
  );
}

const Tensors = ({ list }) => (
  <ul class="tensors">
    {list.map((t) => (
      <li key={t.name}>
        <code>{t.name}</code> <span class="muted">{t.datatype}</span> <span class="dims">{shape(t.shape)}</span>
      </li>
    ))}
  </ul>
);

function batching(model, rates) {
  if (!model.may_share || model.max_batch === 1) return 'Each request runs alone';
  const size = rates.runs > 0 ? `, now ${(rates.rows / rates.runs).toFixed(1)} rows per run` : '';
  return `Shared runs of up to ${plural(model.max_batch, 'row')}${size}`;
}

const Facts = ({ model, rates }) => (
  <dl class="facts">
    <div>
      <dt>Inputs</dt>
      <dd>
        <Tensors list={model.inputs} />
      </dd>
    </div>
    <div>
      <dt>Outputs</dt>
      <dd>
        <Tensors list={model.outputs} />
      </dd>
    </div>
    <div>
      <dt>Batching</dt>
      <dd>
        {batching(model, rates)}
        {model.batch_reason && <span class="muted reason-line">{model.batch_reason}</span>}
      </dd>
    </div>
  </dl>
);

function tags(model) {
  const list = [model.backend, model.isolation].filter(Boolean);
  const { instances, instances_ready: ready } = model;
  if (instances > 0) list.push(ready === instances ? plural(instances, 'instance') : `${ready} of ${plural(instances, 'instance')} ready`);
  return list.join(' · ');
}

// Of a version that serves, what the master knows more of.
const SHOWN = new Set(['canary', 'comparing']);

function shadow({ shadow_percent: share, compared, differed, greatest_difference: greatest }) {
  const copies = `; of copies of ${percent(share / 100)} of the others' requests`;
  if (compared === 0) return `${copies} none was compared yet`;
  return `${copies} ${count(compared)} were compared, ${differed > 0 ? `${count(differed)} differed, at most by ${greatest.toPrecision(2)}` : 'none differed'}`;
}

// How the version came, or is about to come: what comparing and trying it say.
function Trial({ life, canary }) {
  if (!life?.compared && !canary) return null;
  const share = canary?.answered > 0 ? percent(canary.failed / canary.answered) : null;
  return (
    <ul class="trial">
      {life?.compared && <li data-field="compared">Compared with the version before: {life.compared}</li>}
      {canary && (
        <li data-field="canary">
          On trial with {percent(canary.percent / 100)} of the callers: {plural(canary.answered, 'request')} answered
          {share && `, ${share} of them failed`}
          {canary.shadow_percent > 0 && shadow(canary)}
        </li>
      )}
    </ul>
  );
}

export function Model({ model, life, rates, several, full }) {
  const [trying, setTrying] = useState(false);
  const [explaining, setExplaining] = useState(false);
  const [opened, setOpened] = useState(null); // null: as the number of models says
  const id = useId();
  const known = model.inputs?.length > 0;
  const open = opened ?? full;
  return (
    <article class={`model card state-${model.state}`} data-model={model.name} aria-labelledby={id}>
      <div class="model-head">
        <i class="swatch" style={{ background: colourVar(modelKey(model)) }} />
        <h3 id={id} title={model.name.length > 40 ? model.name : undefined}>
          {model.name}
        </h3>
        <span class="muted">v{model.version}</span>
        <Pill state={model.state === 'ready' && SHOWN.has(life?.state) ? life.state : model.state} />
        <span class="muted tags" title={[model.platform, model.path].filter(Boolean).join(' · ')}>{tags(model)}</span>
        <span class="model-buttons">
          {known && (
            <button type="button" class="small" aria-expanded={open} onClick={() => setOpened(!open)}>
              {open ? 'Less' : 'More'}
            </button>
          )}
          <button type="button" class="small" aria-expanded={explaining} onClick={() => setExplaining(!explaining)}>
            {explaining ? 'Hide settings' : 'Settings'}
          </button>
          {model.state === 'ready' && (
            <button type="button" class="small accent" aria-expanded={trying} onClick={() => setTrying(!trying)}>
              {trying ? 'Close' : 'Try it'}
            </button>
          )}
        </span>
      </div>
      {model.reason && <p class={`reason ${model.state === 'failed' ? 'tone-bad' : 'muted'}`}>{model.reason}</p>}
      <Trial life={life} canary={model.canary} />
      {model.state !== 'failed' && known && <Numbers model={model} rates={rates} />}
      {open && known && (
        <div class="model-more">
          <Stages stages={model.stages_us} />
          <Facts model={model} rates={rates} />
        </div>
      )}
      {explaining && <Settings model={model} />}
      {trying && <TryIt model={model} several={several} />}
    </article>
  );
}
