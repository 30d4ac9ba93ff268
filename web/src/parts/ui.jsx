// Small pieces used everywhere.
import { useEffect, useRef, useState } from 'preact/hooks';

// state → tone; the word is always shown too, never the colour alone.
const TONES = {
  ready: 'good',
  starting: 'wait',
  loading: 'wait',
  draining: 'wait',
  comparing: 'wait',
  canary: 'wait',
  loaded: 'good',
  unloading: 'wait',
  waiting: 'wait',
  unloaded: 'calm',
  kept: 'calm',
  backoff: 'warn',
  stopped: 'calm',
  failed: 'bad',
  unreachable: 'bad',
};

export const Pill = ({ state, label = state }) => (
  <span class={`pill ${TONES[state] ?? 'calm'}`} data-state={state}>
    {label}
  </span>
);

export const Section = ({ id, title, note, children }) => (
  <section id={id} aria-labelledby={`${id}-title`}>
    <div class="section-head">
      <h2 id={`${id}-title`}>{title}</h2>
      {note && <p class="muted">{note}</p>}
    </div>
    {children}
  </section>
);

export const Empty = ({ title, children }) => (
  <div class="empty card">
    <p class="empty-title">{title}</p>
    {children && <div class="muted">{children}</div>}
  </div>
);

// One figure: a number with its name below it.
export const Figure = ({ name, value, note, tone, field, title }) => (
  <div class="figure" title={title}>
    <dt>{name}</dt>
    <dd class={tone ? `tone-${tone}` : undefined} data-field={field}>
      {value}
    </dd>
    {note !== undefined && <dd class="note">{note}</dd>}
  </div>
);

// The clipboard API exists only on localhost and https; elsewhere the old command still works.
async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'offscreen';
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error('copying is not allowed');
}

export function CopyButton({ text, label = 'Copy' }) {
  const [said, setSaid] = useState('');
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    let outcome = 'Copied';
    try {
      await copyText(text);
    } catch {
      outcome = 'Not allowed';
    }
    setSaid(outcome);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setSaid(''), 1600);
  };
  return (
    <button type="button" class="small" onClick={copy}>
      <span aria-live="polite">{said || label}</span>
    </button>
  );
}

// A row of choices of which exactly one holds.
export const Choice = ({ label, options, value, onChange }) => (
  <div class="choice" role="group" aria-label={label}>
    {options.map(([key, text]) => (
      <button type="button" key={key} aria-pressed={key === value} onClick={() => onChange(key)}>
        {text}
      </button>
    ))}
  </div>
);
