import { useEffect } from 'preact/hooks';
import { ago, duration } from './format.js';
import { Charts } from './parts/charts.jsx';
import { Crashes } from './parts/crashes.jsx';
import { Header, serverState } from './parts/header.jsx';
import { Memory } from './parts/memory.jsx';
import { Models } from './parts/models.jsx';
import { Overview } from './parts/overview.jsx';
import { Processes } from './parts/processes.jsx';
import { Requests } from './parts/requests.jsx';

function Banner({ state }) {
  const { status, offline } = state;
  if (offline) {
    return (
      <div class="banner bad" role="alert">
        <strong>{offline.silent ? 'The server does not answer.' : 'The server answers with an error.'}</strong> Retrying once per second
        {status ? `; what you see is ${duration(Date.now() - offline.since)} old.` : '.'}{' '}
        <span class="muted">Reason: {offline.reason}</span>
      </div>
    );
  }
  if (status.draining) {
    return (
      <div class="banner wait" role="status">
        <strong>Draining.</strong> Requests in flight are finished; new ones are refused.
      </div>
    );
  }
  if (status.last_error) {
    return (
      <div class="banner bad" role="status">
        <strong>The last change was not taken.</strong> {status.last_error}
      </div>
    );
  }
  return null;
}

const Footer = ({ status }) => (
  <footer class="page muted">
    <span>
      Also here: <a href="/metrics">metrics</a>, <a href="/openapi.json">OpenAPI</a>, <a href="/api/status">status as JSON</a>
    </span>
    <span>
      {status && `started ${ago(status.started_at_ms, status.now_ms)} · `}
      <a href="/licenses.txt">licences</a>
    </span>
  </footer>
);

export function App({ state }) {
  const { status, offline } = state;
  const [tone] = serverState(state);
  useEffect(() => {
    document.title = tone === 'ready' ? `quern · ${location.host}` : `quern · ${tone}`;
  }, [tone]);
  return (
    <>
      <a class="skip" href="#models">
        Skip to the models
      </a>
      <Header state={state} />
      <main class={`page${offline ? ' stale' : ''}`}>
        <Banner state={state} />
        {status && (
          <>
            <Overview state={state} />
            <Charts state={state} />
            <Models state={state} />
            <Memory status={status} />
            <Requests state={state} />
            <Processes state={state} />
            <Crashes crashes={status.crashes} now={status.now_ms} />
          </>
        )}
      </main>
      <Footer status={status} />
    </>
  );
}
