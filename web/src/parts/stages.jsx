// Where a request's time goes: as one bar on average, or stage below stage for a single request.
import { us } from '../format.js';
import { STAGES, totalUs, waterfall } from '../stages.js';

export function Stages({ stages }) {
  const total = totalUs(stages);
  if (!(total > 0)) return null;
  const text = STAGES.map(([name]) => `${name} ${us(stages[name])}`).join(', ');
  return (
    <div class="stages">
      <p class="stages-head">
        Where the time goes <span class="muted">· {us(total)} per request on average</span>
      </p>
      <div class="stage-bar" role="img" aria-label={text}>
        {STAGES.map(([name]) => (
          <i key={name} class={`stage-${name}`} style={{ flexGrow: stages[name] / total }} />
        ))}
      </div>
      <ul class="legend">
        {STAGES.map(([name, what]) => (
          <li key={name} title={what}>
            <i class={`swatch stage-${name}`} />
            {name} <b>{us(stages[name])}</b>
          </li>
        ))}
      </ul>
    </div>
  );
}

export function Waterfall({ stages }) {
  const bars = waterfall(stages);
  if (bars.length === 0) return null;
  return (
    <ol class="waterfall" aria-label="Stages, one after the other">
      {bars.map(({ name, what, us: time, from, share }) => (
        <li key={name} title={what} data-stage={name}>
          <span class="waterfall-name">{name}</span>
          <span class="waterfall-track">
            <i class={`stage-${name}`} style={{ left: `${from * 100}%`, width: `${share * 100}%` }} />
          </span>
          <b>{us(time)}</b>
        </li>
      ))}
    </ol>
  );
}
