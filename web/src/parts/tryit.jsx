// A form that sends one request to a model, filled with a sample that the server knows to be valid.
import { useEffect, useId, useMemo, useState } from 'preact/hooks';
import { getSample, send } from '../api.js';
import { bytes, ms } from '../format.js';
import { compact, layOut, layOutStart } from '../json.js';
import { Choice, CopyButton } from './ui.jsx';

const ROWS_MAX = 14;

function inferPath(model, several) {
  const base = `/v2/models/${encodeURIComponent(model.name)}`;
  return several ? `${base}/versions/${encodeURIComponent(model.version)}/infer` : `${base}/infer`;
}

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const curlLine = (path, body) =>
  `curl -s ${location.origin}${path} -H 'content-type: application/json' -d ${quote(compact(body))}`;

function wrongWith(text) {
  try {
    JSON.parse(text);
    return '';
  } catch (e) {
    return e.message;
  }
}

const Result = ({ result }) => (
  <div class="result">
    <p class="result-head">
      <span class={`pill ${result.ok ? 'good' : 'bad'}`} data-field="status">
        {result.status || 'failed'}
      </span>
      <span data-field="time">{ms(result.ms)}</span>
      <span class="muted">in this browser</span>
      {result.bytes > 0 && <span class="muted">{bytes(result.bytes)}</span>}
      {result.requestId && <span class="muted request-id">request {result.requestId}</span>}
    </p>
    <pre tabIndex={0} aria-label="Answer" data-field="answer">
      {result.shown}
    </pre>
  </div>
);

function useSample(name) {
  const [sample, setSample] = useState(null);
  const [error, setError] = useState('');
  useEffect(() => {
    let wanted = true;
    getSample(name).then(
      (s) => wanted && setSample(s),
      (e) => wanted && setError(e.message),
    );
    return () => {
      wanted = false;
    };
  }, [name]);
  return { sample, error };
}

export function TryIt({ model, several }) {
  const id = useId();
  const { sample, error } = useSample(model.name);
  const [mode, setMode] = useState('predict');
  const [edits, setEdits] = useState({}); // mode → text, once it was changed
  const [sending, setSending] = useState(false);
  const [result, setResult] = useState(null);

  // A sample may be an image: what is made from it is not made again with every second's facts.
  const original = useMemo(() => (sample ? layOut(JSON.stringify(sample[mode])) : ''), [sample, mode]);
  const text = edits[mode] ?? original;
  const wrong = useMemo(() => wrongWith(text), [text]);
  const path = mode === 'predict' ? '/predict' : inferPath(model, several);
  const own = useMemo(() => curlLine(path, text), [path, text]);

  if (error) return <p class="tryit tone-bad">No sample for this model: {error}</p>;
  if (!sample) return <p class="tryit muted">Asking the server for a sample…</p>;

  const asGiven = mode === 'predict' && text === original && sample.curl;
  const curl = asGiven ? sample.curl : own;

  const submit = async (event) => {
    event.preventDefault();
    if (sending) return;
    setSending(true);
    const answer = await send(path, text);
    const shown = answer.cut ? `${layOutStart(answer.text)}\n… the rest is not shown` : layOut(answer.text);
    setResult({ ...answer, shown, mode });
    setSending(false);
  };
  const onKeyDown = (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) submit(event);
  };
  const choose = (next) => {
    setMode(next);
    setResult(null);
  };
  return (
    <form class="tryit" onSubmit={submit} aria-label={`Try ${model.name}`}>
      <div class="tryit-head">
        <Choice
          label="Protocol"
          options={[
            ['predict', 'predict'],
            ['infer', 'v2 infer'],
          ]}
          value={mode}
          onChange={choose}
        />
        <code class="path">POST {path}</code>
        {text !== original && (
          <button type="button" class="small" onClick={() => setEdits({ ...edits, [mode]: undefined })}>
            Back to the sample
          </button>
        )}
      </div>
      <label class="offscreen" for={`${id}-body`}>
        Request body
      </label>
      <textarea
        id={`${id}-body`}
        rows={Math.min(ROWS_MAX, Math.max(3, text.split('\n').length))}
        spellcheck={false}
        autocomplete="off"
        value={text}
        aria-invalid={wrong !== ''}
        aria-describedby={`${id}-hint`}
        onInput={(e) => setEdits({ ...edits, [mode]: e.currentTarget.value })}
        onKeyDown={onKeyDown}
      />
      <div class="tryit-send">
        <button type="submit" class="primary" aria-busy={sending}>
          Send
        </button>
        <span class={`muted${wrong ? '' : ' keyboard-only'}`} id={`${id}-hint`}>
          {wrong ? `This is not JSON yet: ${wrong}` : 'Ctrl + Enter sends too'}
        </span>
      </div>
      <div aria-live="polite">{result?.mode === mode && <Result result={result} />}</div>
      <div class="curl">
        <pre tabIndex={0} aria-label="The same request as a command">{curl}</pre>
        <CopyButton text={curl} label="Copy command" />
      </div>
    </form>
  );
}
