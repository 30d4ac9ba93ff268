// The dashboard's pure functions, without a browser: node test/browser/units.test.mjs
import * as f from '../../web/src/format.js';
import { compact, layOut, layOutStart } from '../../web/src/json.js';
import { Rates } from '../../web/src/rates.js';
import { mainStage, waterfall } from '../../web/src/stages.js';
import { check, equal, expect, finish } from './runner.mjs';

const plain = (s) => s.replaceAll('\u202f', ' ');
const each = (fn, cases) => cases.forEach(([input, wanted]) => equal(plain(fn(input)), wanted, `${fn.name}(${input})`));

await check('times choose their unit', async () => {
  each(f.ms, [[0, '0 ms'], [0.0214, '21.4 µs'], [0.9996, '1 ms'], [1.5, '1.5 ms'], [12.34, '12.3 ms'], [999.4, '999 ms'], [999.6, '1 s'], [1234, '1.2 s'], [null, '–']]);
  each(f.us, [[0.53, '0.53 µs'], [5370, '5.37 ms'], [undefined, '–']]);
  each(f.duration, [[9_960, '10 s'], [59_600, '1 min'], [125_000, '2 min 5 s'], [3_600_000, '1 h'], [274_620_000, '3 d 4 h'], [NaN, '–']]);
});

await check('counts, rates, sizes and shares have units and never lie about zero', async () => {
  each(f.rate, [[0, '0 /s'], [0.25, '0.25 /s'], [1740.4, '1,740 /s'], [123456, '123 k /s'], [2.5e6, '2.5 M /s'], [null, '–']]);
  each(f.bytes, [[0, '0 B'], [999, '999 B'], [1024, '1 KiB'], [1023 * 1024, '1 MiB'], [26.2 * 1048576, '26.2 MiB'], [1.5 * 2 ** 30, '1.5 GiB']]);
  each(f.percent, [[0, '0 %'], [0.00001, '<0.01 %'], [0.0036, '0.36 %'], [1, '100 %']]);
  each(f.count, [[1234567, '1,234,567'], ['x', '–']]);
});

await check('shapes and distances in time read as words', async () => {
  equal(f.shape([-1, 3, 48, -1]), 'any × 3 × 48 × any');
  equal(f.shape([]), 'scalar');
  equal(f.ago(1000, 2000), 'just now');
  equal(plain(f.ago(0, 95_400)), '1 min 35 s ago');
  equal(f.ago(5000, 1000), 'just now', 'a clock that went back');
  equal(f.plural(1, 'row'), '1 row');
  equal(f.plural(2, 'process', 'processes'), '2 processes');
});

await check('a waterfall has the stages end to end', async () => {
  const bars = waterfall({ receive: 10, decode: 20, queue: 60, compute: 10, encode: 0, send: 0 });
  equal(bars.map((b) => b.name).join(), 'receive,decode,queue,compute,encode,send');
  equal(bars.map((b) => b.from).join(), '0,0.1,0.3,0.9,1,1');
  equal(bars.map((b) => b.share).join(), '0.1,0.2,0.6,0.1,0,0');
  equal(mainStage({ queue: 60, compute: 61 }), 'compute');
  for (const none of [{}, null, undefined, { queue: 0 }, { queue: NaN }, { queue: -5 }]) {
    equal(waterfall(none).length, 0, 'bars without times');
    equal(mainStage(none), null, 'the main stage without times');
  }
});

await check('JSON is laid out without changing a digit', async () => {
  const text = '{"a":9223372036854775807,"b":[0.1000000000000000055511151231257827,-0.0,1e400],"c":"x, [y]: \\"z\\"","d":{},"e":[]}';
  const out = layOut(text);
  for (const part of ['9223372036854775807', '0.1000000000000000055511151231257827', '1e400', '"x, [y]: \\"z\\""', '{}', '[]']) {
    expect(out.includes(part), `${part} is kept in ${out}`);
  }
  equal(compact(out), text, 'compact undoes it');
  equal(layOut('{"a":[1,2]}'), '{"a": [1, 2]}', 'what is short stays on a line');
  const long = JSON.stringify({ data: Array.from({ length: 300 }, (_, i) => i / 7) });
  expect(layOut(long).split('\n').every((line) => line.length <= 90), 'lines are short');
  equal(compact(layOut(long)), long, 'a long list');
  const nested = JSON.stringify({ outputs: [{ name: 'a'.repeat(60), shape: [1, 4], data: [1, 2] }, { name: 'b', data: ['x', null, true] }] });
  equal(compact(layOut(nested)), nested, 'nested');
});

await check('text that is not JSON stays as it is, deep or long JSON does no harm', async () => {
  for (const text of ['', 'no JSON', '{"a":', '[1,]']) equal(layOut(text), text);
  const deep = '['.repeat(3000) + ']'.repeat(3000);
  equal(compact(layOut(deep)), deep, 'deep');
  const string = JSON.stringify(`${'\\'.repeat(100_000)}"`);
  equal(layOut(string), string, 'a long string of escapes');
});

await check('the beginning of a long answer is laid out', async () => {
  const text = `{"a":"b","data":[${Array.from({ length: 200 }, (_, i) => i).join(',')}`;
  const out = layOutStart(text);
  expect(out.startsWith('{\n  "a": "b",\n  "data": [\n    0, 1, 2,'), out.slice(0, 60));
  expect(out.trimEnd().endsWith('198,'), out.slice(-20));
  expect(out.split('\n').every((line) => line.length <= 90), 'lines are short');
  equal(layOutStart('no JSON'), 'no JSON');
});

await check('rates come from a window and survive a restart of the counter', async () => {
  const r = new Rates();
  equal(r.add('a', 1000, 50), null, 'one sample');
  equal(r.add('a', 2000, 150), 100, 'two samples');
  for (let t = 3000; t <= 20_000; t += 1000) r.add('a', t, 150);
  equal(r.add('a', 21_000, 150), 0, 'the old burst has left the window');
  equal(r.add('a', 22_000, 7), null, 'the counter fell');
  equal(r.add('a', 23_000, 12), 5, 'and goes on');
  equal(r.add('a', 23_000, 12), 5, 'the same moment again');
  r.prune(24_000);
  equal(r.add('a', 25_000, 100), null, 'forgotten');
});

finish();
