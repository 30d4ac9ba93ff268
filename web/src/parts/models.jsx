import { useState } from 'preact/hooks';
import { plural } from '../format.js';
import { modelKey } from '../poll.js';
import { Model } from './model.jsx';
import { Empty, Section } from './ui.jsx';

// Up to this many models are shown in full; beyond, each is a line until it is opened.
const FULL_MAX = 6;
const FILTER_FROM = 8;

// What needs somebody comes first; the others stay where they are.
const troubleFirst = (models) => [...models].sort((a, b) => (b.state === 'failed') - (a.state === 'failed'));

function noteOf(models) {
  const failed = models.filter((m) => m.state === 'failed').length;
  const ready = models.filter((m) => m.state === 'ready').length;
  return `${ready} of ${plural(models.length, 'model')} ready${failed ? `, ${failed} failed` : ''}`;
}

export function Models({ state }) {
  const { models } = state.status;
  const [wanted, setWanted] = useState('');
  if (models.length === 0) {
    return (
      <Section id="models" title="Models">
        <Empty title="No models yet">
          Add one to the configuration and run <code>quern reload</code>, or start with a model file: <code>quern serve model.onnx</code>
        </Empty>
      </Section>
    );
  }
  const shown = troubleFirst(models).filter((m) => m.name.toLowerCase().includes(wanted.trim().toLowerCase()));
  const lives = new Map((state.status.versions ?? []).map((v) => [modelKey(v), v]));
  const names = new Map();
  for (const m of models) names.set(m.name, (names.get(m.name) ?? 0) + 1);
  return (
    <Section id="models" title="Models" note={noteOf(models)}>
      {models.length >= FILTER_FROM && (
        <input
          class="filter"
          type="search"
          placeholder="Filter by name"
          aria-label="Filter models by name"
          value={wanted}
          onInput={(e) => setWanted(e.currentTarget.value)}
        />
      )}
      <div class="models">
        {shown.map((m) => (
          <Model
            key={modelKey(m)}
            model={m}
            life={lives.get(modelKey(m))}
            rates={state.rates.models[modelKey(m)]}
            several={names.get(m.name) > 1}
            full={models.length <= FULL_MAX}
          />
        ))}
      </div>
      {shown.length === 0 && <Empty title={`No model's name contains “${wanted}”`} />}
    </Section>
  );
}
