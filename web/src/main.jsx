import { render } from 'preact';
import { App } from './app.jsx';
import { startPolling } from './poll.js';
import { startTheme } from './theme.js';
import 'uplot/dist/uPlot.min.css';
import './css/tokens.css';
import './css/base.css';
import './css/parts.css';
import './css/models.css';
import './css/charts.css';
import './css/requests.css';

startTheme();
document.addEventListener('DOMContentLoaded', () => {
  const root = document.getElementById('app');
  startPolling((state) => render(<App state={state} />, root));
});
