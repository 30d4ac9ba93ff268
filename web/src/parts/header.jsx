import { useEffect, useState } from 'preact/hooks';
import { duration } from '../format.js';
import { onTheme, theme, toggleTheme } from '../theme.js';
import { Pill } from './ui.jsx';

function ThemeButton() {
  const [now, setNow] = useState(theme());
  useEffect(() => onTheme(() => setNow(theme())), []);
  const other = now === 'dark' ? 'light' : 'dark';
  return (
    <button type="button" class="icon-button" onClick={toggleTheme} aria-label={`Use the ${other} theme`} title={`Use the ${other} theme`}>
      <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round">
        {now === 'dark' ? (
          <>
            <circle cx="10" cy="10" r="3.4" />
            <path d="M10 2.2v1.6M10 16.2v1.6M2.2 10h1.6M16.2 10h1.6M4.5 4.5l1.1 1.1M14.4 14.4l1.1 1.1M4.5 15.5l1.1-1.1M14.4 5.6l1.1-1.1" />
          </>
        ) : (
          <path d="M16.6 11.8A7 7 0 0 1 8.2 3.4a7 7 0 1 0 8.4 8.4Z" stroke-linejoin="round" />
        )}
      </svg>
    </button>
  );
}

export function serverState({ status, offline }) {
  if (offline) return ['unreachable', 'Unreachable'];
  if (status.draining) return ['draining', 'Draining'];
  return status.ready ? ['ready', 'Ready'] : ['starting', 'Starting'];
}

export function Header({ state }) {
  const { status } = state;
  const [tone, label] = serverState(state);
  return (
    <header class="top">
      <div class="page top-row">
        <div class="brand">
          <img src="/icon.svg" width="26" height="26" alt="" />
          <h1>quern</h1>
          {status && <span class="muted version">{status.version}</span>}
        </div>
        {status && (
          <nav aria-label="Sections">
            <a href="#models">Models</a>
            <a href="#requests">Requests</a>
            <a href="#processes">Processes</a>
            <a href="#crashes">
              Crashes{status.crashes.length > 0 && <span class="badge">{status.crashes.length}</span>}
            </a>
          </nav>
        )}
        <div class="top-facts">
          {status && (
            <>
              <span class="muted address" title={`Listening on ${status.listen.join(', ')}`}>
                {status.listen[0]}
                {status.listen.length > 1 && ` +${status.listen.length - 1}`}
              </span>
              <span class="muted uptime" title="Time since the start">
                up {duration(Math.max(0, Math.floor((status.now_ms - status.started_at_ms) / 1000) * 1000))}
              </span>
            </>
          )}
          <span role="status">
            <Pill state={tone} label={label} />
          </span>
          <ThemeButton />
        </div>
      </div>
    </header>
  );
}
