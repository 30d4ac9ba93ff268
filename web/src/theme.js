// Light or dark: as the system says, until the person chooses. The choice is kept in the browser.
const KEY = 'quern-theme';
const dark = matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set();

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be forbidden; the choice then lasts as long as the page
  }
}

let choice = stored();

export const theme = () => (choice === 'light' || choice === 'dark' ? choice : dark.matches ? 'dark' : 'light');

function apply() {
  document.documentElement.dataset.theme = theme();
  for (const listener of listeners) listener();
}

export function toggleTheme() {
  choice = theme() === 'dark' ? 'light' : 'dark';
  // Back at what the system says: follow it again.
  const follows = choice === (dark.matches ? 'dark' : 'light');
  try {
    if (follows) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, choice);
  } catch {
    // As above.
  }
  if (follows) choice = null;
  apply();
}

export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function startTheme() {
  dark.addEventListener('change', apply);
  apply();
}
