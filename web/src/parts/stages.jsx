// Where a request's time goes, as one bar.
import { us } from '../format.js';

const STAGES = [
  ['receive', 'bytes arrive and are parsed as HTTP'],
  ['decode', 'JSON or tensors are written into the batch'],
  ['queue', 'the request waits for its run'],
  ['compute', 'the model runs'],
  ['encode', 'the answer is written'],
  ['send', 'the answer leaves'],
];

export function Stages({ stages }) {
  const total = STAGES.reduce((sum, [name]) => sum + (stages?.[name] ?? 0), 0);
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
